//! A serializer that writes `type` before the fields of a struct or a variant.

use serde::ser::{
    Error, Impossible, Serialize, SerializeMap, SerializeStruct, SerializeStructVariant, Serializer,
};

use super::{super::Event, de::is_hidden, strict::Strict};

/// An event that is written with its `type`.
pub(super) struct Typed<'a, E>(pub(super) &'a E);

impl<E: Event> Serialize for Typed<'_, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(TypeFirst { to: Strict(serializer), name: self.0.name(), in_variant: false })
    }
}

/// Accepts only values with named fields, and writes `type` before the fields.
struct TypeFirst<S> {
    to: S,
    name: &'static str,
    /// Whether this is the value inside a variant. A second variant in it would lose its name.
    in_variant: bool,
}

impl<S: Serializer> TypeFirst<S> {
    fn fields(self, len: usize) -> Result<FieldWriter<S::SerializeStruct>, S::Error> {
        let mut to = self.to.serialize_struct("Event", len + 1)?;
        to.serialize_field("type", self.name)?;
        Ok(FieldWriter(to))
    }

    fn variant(self) -> Result<Self, S::Error> {
        if self.in_variant { refuse() } else { Ok(Self { in_variant: true, ..self }) }
    }
}

fn refuse<T, E: Error>() -> Result<T, E> {
    Err(E::custom(
        "an event must be a struct with named fields, or an enum with such structs as its variants",
    ))
}

fn check<E: Error>(key: &str) -> Result<(), E> {
    if is_hidden(key) {
        return Err(E::custom(format_args!(
            "the field {key:?} is reserved for the event's envelope: rename it"
        )));
    }
    Ok(())
}

/// Writes the fields behind `type`, and refuses reserved names.
struct FieldWriter<C>(C);

impl<C: SerializeStruct> SerializeStruct for FieldWriter<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), C::Error> {
        check(key)?;
        self.0
            .serialize_field(key, value)
            .map_err(|error| Error::custom(format_args!("{error}, in the field {key:?}")))
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), C::Error> {
        self.0.skip_field(key)
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

impl<C: SerializeStruct> SerializeStructVariant for FieldWriter<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), C::Error> {
        SerializeStruct::serialize_field(self, key, value)
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), C::Error> {
        self.0.skip_field(key)
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

/// serde writes a struct with `#[serde(flatten)]` as a map.
impl<C: SerializeMap> SerializeMap for FieldWriter<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        // The keys of a flattened map are data. A `type` among them must not become the event's own.
        if let Ok(serde_json::Value::String(key)) = serde_json::to_value(key) {
            check(&key)?;
        }
        self.0.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_value(value)
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $type),*) -> Result<$ok, S::Error> { refuse() })*
    };
}

impl<S: Serializer> Serializer for TypeFirst<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeMap = FieldWriter<S::SerializeMap>;
    type SerializeSeq = Impossible<S::Ok, S::Error>;
    type SerializeStruct = FieldWriter<S::SerializeStruct>;
    type SerializeStructVariant = FieldWriter<S::SerializeStruct>;
    type SerializeTuple = Impossible<S::Ok, S::Error>;
    type SerializeTupleStruct = Impossible<S::Ok, S::Error>;
    type SerializeTupleVariant = Impossible<S::Ok, S::Error>;

    fn is_human_readable(&self) -> bool {
        self.to.is_human_readable()
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.fields(len)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<S::Ok, S::Error> {
        self.fields(0)?.0.end()
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let mut to = self.to.serialize_map(len.map(|len| len + 1))?;
        to.serialize_entry("type", self.name)?;
        Ok(FieldWriter(to))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<S::Ok, S::Error> {
        self.variant()?.fields(0)?.0.end()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(self.variant()?)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.variant()?.fields(len)
    }

    refuse! {
        serialize_bool(bool) -> S::Ok;
        serialize_i8(i8) -> S::Ok;
        serialize_i16(i16) -> S::Ok;
        serialize_i32(i32) -> S::Ok;
        serialize_i64(i64) -> S::Ok;
        serialize_u8(u8) -> S::Ok;
        serialize_u16(u16) -> S::Ok;
        serialize_u32(u32) -> S::Ok;
        serialize_u64(u64) -> S::Ok;
        serialize_f32(f32) -> S::Ok;
        serialize_f64(f64) -> S::Ok;
        serialize_char(char) -> S::Ok;
        serialize_str(&str) -> S::Ok;
        serialize_bytes(&[u8]) -> S::Ok;
        serialize_none() -> S::Ok;
        serialize_unit() -> S::Ok;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<S::Ok, S::Error> {
        refuse()
    }
}
