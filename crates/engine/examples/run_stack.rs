//! Scratch driver.
#![allow(missing_docs)]
use stillframe_engine::recipe::StackRecipe;
use stillframe_engine::stack::{StackJob, run};
use stillframe_runtime::plan::Resources;
struct Out;
impl stillframe_runtime::observe::Observer for Out {
    fn event(&self, e: &stillframe_runtime::observe::Event) {
        use stillframe_runtime::observe::Event;
        match e {
            Event::PhaseProgress { .. } => {}
            e => eprintln!(
                "{}",
                serde_json::to_string(e).unwrap().chars().take(600).collect::<String>()
            ),
        }
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let ds = &a[1];
    let cal = |k: &str| {
        let p = format!("{ds}/cal/{k}_*.fits");
        if std::path::Path::new(&format!("{ds}/cal")).exists() { vec![p] } else { vec![] }
    };
    let file = stillframe_engine::recipe::RecipeFile::load(None, &a[3..].to_vec()).unwrap();
    let job = StackJob {
        inputs: vec![format!("{ds}/light_*.fits")],
        output: a[2].clone().into(),
        bias: cal("bias"),
        dark: cal("dark"),
        flat: cal("flat"),
        recipe: file.recipe,
        resources: Resources {
            workers: std::env::var("W").ok().and_then(|w| w.parse().ok()),
            ..Resources::default()
        },
        block_side: None,
        overwrite: true,
        resume: false,
        worker: None,
    };
    let _ = StackRecipe::default();
    let o = run(&job, &Out, &stillframe_runtime::cancel::Cancel::new())
        .unwrap_or_else(|e| panic!("{e}"));
    eprintln!(
        "{:?} {:?} {:?} {:?}",
        o.report.result,
        o.wall_secs,
        o.cpu_secs,
        o.peak_rss_bytes.map(|b| b >> 20)
    );
    for f in &o.report.frames {
        if !f.outcome.is_used() {
            eprintln!("{} {:?}", f.file, f.outcome);
        }
    }
    eprintln!("{:?}", o.report.frames.get(3));
}
