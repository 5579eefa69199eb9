//! The cards of a header that make up its celestial coordinates.

use stillframe_image::{Card, Header, Value};

use super::WcsError;

/// Keywords that are numbers, before those of distortion.
const NUMBERS: [&str; 24] = [
    "CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CDELT1", "CDELT2", "CD1_1", "CD1_2", "CD2_1", "CD2_2",
    "PC1_1", "PC1_2", "PC2_1", "PC2_2", "PC001001", "PC001002", "PC002001", "PC002002", "CROTA1",
    "CROTA2", "LONPOLE", "LATPOLE", "EQUINOX", "EPOCH",
];

/// The four polynomials of SIP.
const SIP: [&str; 4] = ["A_", "B_", "AP_", "BP_"];

/// `CTYPE` of FITS axis `axis`.
pub(super) fn ctype(header: &Header, axis: usize) -> &str {
    header.text(if axis == 1 { "CTYPE1" } else { "CTYPE2" }).unwrap_or("")
}

/// Whether `key` is `PV1_m` or `PV2_m`; then its axis and m.
fn pv(key: &str) -> Option<(usize, usize)> {
    let (axis, m) = key.strip_prefix("PV")?.split_once('_')?;
    Some((axis.parse().ok()?, m.parse().ok()?)).filter(|(axis, _)| *axis == 1 || *axis == 2)
}

/// Whether `key` belongs to a SIP polynomial.
fn is_sip(key: &str) -> bool {
    SIP.iter().filter_map(|name| key.strip_prefix(name)).any(|rest| {
        let power = |s: &str| s.len() == 1 && s.bytes().all(|b| b.is_ascii_digit());
        rest == "ORDER" || rest.split_once('_').is_some_and(|(p, q)| power(p) && power(q))
    })
}

/// The cards of the first two axes, without comments, in a fixed order.
pub(super) fn celestial(header: &Header) -> Result<Header, WcsError> {
    let mut out = Header::default();
    out.push_integer("WCSAXES", 2, "");
    let has_sip = header.card("A_ORDER").is_some() && header.card("B_ORDER").is_some();
    let pv_terms: Vec<(usize, usize)> = header.cards.iter().filter_map(|c| pv(&c.key)).collect();
    // on the longitude axis PV0 to PV4 may stand for the pole, as in any projection
    let has_tpv = pv_terms.iter().any(|&(axis, m)| axis == 2 || m > 4);
    for (axis, key) in ["CTYPE1", "CTYPE2"].into_iter().enumerate() {
        let Some(text) = header.text(key) else { return Err(WcsError::Missing { missing: key }) };
        let (axes, code) = split_ctype(text);
        let is_celestial = matches!(axes, "RA" | "DEC" | "GLON" | "GLAT" | "ELON" | "ELAT");
        if !is_celestial || code.is_empty() {
            let found = format!("{} and {}", ctype(header, 1), ctype(header, 2));
            return Err(WcsError::Axes { found });
        }
        let is_tangent = code == "TAN" || code == "TAN-SIP";
        let code = match code {
            _ if is_tangent && has_sip => "TAN-SIP",
            "TAN-SIP" => "TAN",
            "TAN" if has_tpv => "TPV",
            code => code,
        };
        let dashes = "-".repeat(8usize.saturating_sub(axes.len() + 3).max(1));
        out.push_text(key, &format!("{axes}{dashes}{code}"), "");
        if let Some(unit) = header.text(["CUNIT1", "CUNIT2"][axis]) {
            out.push_text(["CUNIT1", "CUNIT2"][axis], unit, "");
        }
    }
    // each alone defaults to 0 (mostly in maps of the whole sky); none at all is no solution
    if ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"].iter().all(|key| header.real(key).is_none()) {
        return Err(WcsError::Missing { missing: "CRVAL1" });
    }
    let has_cd = ["CD1_1", "CD1_2", "CD2_1", "CD2_2"].iter().any(|k| header.real(k).is_some());
    if !has_cd && (header.real("CDELT1").is_none() || header.real("CDELT2").is_none()) {
        return Err(WcsError::Missing { missing: "CD1_1 or CDELT1" });
    }
    let has_pc = header.cards.iter().any(|c| c.key.starts_with("PC"));
    for key in NUMBERS {
        // CD wins over the older forms, which headers often keep beside it.
        let is_older = has_cd
            && (key.starts_with("CDELT") || key.starts_with("CROTA") || key.starts_with("PC"));
        let is_unused_angle = has_pc && key.starts_with("CROTA");
        if is_older || is_unused_angle {
            continue;
        }
        if let Some(v) = header.real(key) {
            let key = match key {
                "PC001001" => "PC1_1",
                "PC001002" => "PC1_2",
                "PC002001" => "PC2_1",
                "PC002002" => "PC2_2",
                "EPOCH" => "EQUINOX",
                key => key,
            };
            if out.card(key).is_none() {
                out.push_real(key, v, "");
            }
        }
    }
    if let Some(system) = header.text("RADESYS").or_else(|| header.text("RADECSYS")) {
        out.push_text("RADESYS", system, "");
    }
    for card in &header.cards {
        let Some(v) = header.real(&card.key).filter(|_| out.card(&card.key).is_none()) else {
            continue;
        };
        if has_sip && is_sip(&card.key) {
            if card.key.ends_with("ORDER") {
                out.push_integer(&card.key, v as i64, "");
            } else {
                out.push_real(&card.key, v, "");
            }
        } else if pv(&card.key).is_some() && !has_sip {
            out.push_real(&card.key, v, "");
        }
    }
    Ok(out)
}

/// `RA---TAN-SIP` to `RA` and `TAN-SIP`.
fn split_ctype(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.split_once('-') {
        Some((axis, rest)) => (axis, rest.trim_start_matches('-')),
        None => (text, ""),
    }
}

/// The cards as the crate that evaluates them takes them.
pub(super) fn to_fits_well(header: &Header) -> Result<fits_well::header::Header, String> {
    let mut out = fits_well::header::Header::new();
    for Card { key, value, .. } in &header.cards {
        let set = match value {
            Value::Integer(i) => out.set(key.as_str(), *i).map(drop),
            Value::Real(r) => out.set(key.as_str(), *r).map(drop),
            Value::Text(t) => out.set(key.as_str(), t.as_str()).map(drop),
            Value::Logical(_) | Value::None => Ok(()),
        };
        set.map_err(|e| e.to_string())?;
    }
    Ok(out)
}

/// The cards as lines of `KEY = value`; numbers to the last bit.
pub(super) fn to_text(header: &Header) -> String {
    let lines = header.cards.iter().map(|Card { key, value, .. }| match value {
        Value::Integer(i) => format!("{key:<8}= {i}\n"),
        // always with a point or an exponent: 2 is an integer
        Value::Real(r) => format!("{key:<8}= {r:?}\n"),
        Value::Text(t) => format!("{key:<8}= '{}'\n", t.replace('\'', "''")),
        Value::Logical(_) | Value::None => String::new(),
    });
    lines.collect()
}
