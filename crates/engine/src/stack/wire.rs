//! How pixels travel to worker processes and into stored stages: as plain bytes.

/// `#[serde(with = "wire::pod")]`: a vector of plain numbers as one block of bytes.
pub(crate) mod pod {
    use std::fmt;
    use std::marker::PhantomData;

    use bytemuck::Pod;
    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<T: Pod, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytemuck::cast_slice(values))
    }

    pub(crate) fn deserialize<'de, T: Pod, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        struct Visitor<T>(PhantomData<T>);

        impl<T: Pod> de::Visitor<'_> for Visitor<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("bytes of plain numbers")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
                if !bytes.len().is_multiple_of(size_of::<T>()) {
                    return Err(E::invalid_length(bytes.len(), &self));
                }
                Ok(bytemuck::pod_collect_to_vec(bytes))
            }
        }

        deserializer.deserialize_bytes(Visitor(PhantomData))
    }
}

/// `#[serde(with = "wire::image")]`: an `Option<Image<f32>>` as shape and bytes.
pub(crate) mod image {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
    use stillframe_image::{Image, Shape};

    #[derive(Serialize, Deserialize)]
    struct Raw {
        shape: Shape,
        #[serde(with = "super::pod")]
        pixels: Vec<f32>,
    }

    #[derive(Serialize)]
    struct RawRef<'a> {
        shape: Shape,
        #[serde(serialize_with = "super::pod::serialize")]
        pixels: &'a [f32],
    }

    pub(crate) fn serialize<S: Serializer>(
        image: &Option<Image<f32>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        image
            .as_ref()
            .map(|i| RawRef { shape: i.shape(), pixels: i.pixels() })
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Image<f32>>, D::Error> {
        let Some(raw) = Option::<Raw>::deserialize(deserializer)? else { return Ok(None) };
        if raw.shape.len() != raw.pixels.len() {
            return Err(de::Error::custom("pixels do not fill the shape"));
        }
        Ok(Some(Image::from_vec(raw.shape, raw.pixels)))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use stillframe_image::{Image, Shape};

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Parcel {
        #[serde(with = "super::pod")]
        counts: Vec<u16>,
        #[serde(with = "super::image")]
        image: Option<Image<f32>>,
    }

    #[test]
    fn parcels_arrive_as_they_were_sent() {
        let image = Some(Image::from_fn(Shape::new(3, 5), |x, y| x as f32 - 0.1 * y as f32));
        for parcel in
            [Parcel { counts: vec![1, 65535], image }, Parcel { counts: vec![], image: None }]
        {
            let bytes = postcard::to_stdvec(&parcel).unwrap();
            assert_eq!(postcard::from_bytes::<Parcel>(&bytes).unwrap(), parcel);
        }
    }
}
