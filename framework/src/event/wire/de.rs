//! A deserializer that hides the envelope's keys, and is told the variant of an enum.

use std::{borrow::Cow, fmt};

use serde::{
    de::{
        Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, IntoDeserializer,
        MapAccess, Unexpected, VariantAccess, Visitor,
        value::{CowStrDeserializer, U32Deserializer},
    },
    forward_to_deserialize_any,
};

use super::value::{Skipped, Value};

/// Whether a key belongs to the envelope and not to the event: `type`, and the keys that Channels adds.
pub(super) fn is_hidden(key: &str) -> bool {
    key == "type" || key.starts_with("__asgi")
}

/// The value of `type`, in a map that is well formed.
pub(super) struct TypeOf(pub(super) Option<Value>);

impl<'de> Deserialize<'de> for TypeOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TypeVisitor;

        impl<'de> Visitor<'de> for TypeVisitor {
            type Value = TypeOf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TypeOf, A::Error> {
                let mut found = None;
                while let Some(FieldName(key)) = map.next_key()? {
                    if key == "type" {
                        found = Some(map.next_value()?);
                    } else {
                        let _: Skipped = map.next_value()?;
                    }
                }
                Ok(TypeOf(found))
            }
        }

        deserializer.deserialize_map(TypeVisitor)
    }
}

/// A key that is a text. It is borrowed from the input, if it stands there unescaped.
struct FieldName<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for FieldName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = FieldName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text as the key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<FieldName<'de>, E> {
                Ok(FieldName(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<FieldName<'de>, E> {
                Ok(FieldName(Cow::Owned(key.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// An event's fields: the map without the envelope's keys.
///
/// It asks for a map, whatever the type asks for, so that a list is never read as a struct.
pub(super) struct Fields<D> {
    from: D,
    variant: u32,
    /// Whether this is the value inside a variant. The variant of an enum in it would be unknown.
    in_variant: bool,
}

impl<D> Fields<D> {
    pub(super) fn new(from: D, variant: usize) -> Self {
        // An enum has at most 2³² variants, because serde numbers them by a u32.
        Self { from, variant: u32::try_from(variant).unwrap_or(u32::MAX), in_variant: false }
    }
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Fields<D> {
    type Error = D::Error;

    fn is_human_readable(&self) -> bool {
        self.from.is_human_readable()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_map(WithoutHidden(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        IgnoredAny::deserialize(self)?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        if self.in_variant {
            return Err(D::Error::custom("an enum inside a variant has no name on the wire"));
        }
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de, D: Deserializer<'de>> EnumAccess<'de> for Fields<D> {
    type Error = D::Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), D::Error> {
        let index: U32Deserializer<D::Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(index)?, Self { in_variant: true, ..self }))
    }
}

impl<'de, D: Deserializer<'de>> VariantAccess<'de> for Fields<D> {
    type Error = D::Error;

    fn unit_variant(self) -> Result<(), D::Error> {
        IgnoredAny::deserialize(self).map(drop)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, D::Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, D::Error> {
        Err(D::Error::invalid_type(Unexpected::Map, &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }
}

/// A visitor, or the access to a map, that does not see the envelope's keys.
struct WithoutHidden<T>(T);

impl<'de, V: Visitor<'de>> Visitor<'de> for WithoutHidden<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(WithoutHidden(map))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutHidden<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        while let Some(FieldName(key)) = self.0.next_key()? {
            if !is_hidden(&key) {
                let key: CowStrDeserializer<'_, A::Error> = key.into_deserializer();
                return seed.deserialize(key).map(Some);
            }
            self.0.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}
