use std::{collections::BTreeMap, fmt};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, value::RawValue};

use super::signing::Unreadable;
use crate::json;

/// A session of Django, as it was at the handshake.
///
/// [`DjangoAuth`](super::DjangoAuth) puts it into [`Scope::session`](crate::Scope::session). It is a copy: it does
/// not show what Django changes later, and nothing is written back.
///
/// # Values that are not JSON
/// Python writes and reads more than JSON has. One such value does not lose the others:
///
/// | In Django | Here |
/// |---|---|
/// | half of a surrogate pair in a text, `"\ud83d"` | U+FFFD, the replacement character |
/// | `NaN`, `Infinity`, `-Infinity` | `null` |
/// | a number that is too large for a [`Number`](serde_json::Number), or a value that nests deeper than 128 levels | the value has no [`Value`]: [`raw`](Self::raw) has its text, and [`get`](Self::get) reads a type that skips the odd part |
///
/// The [guide](crate::docs::guide#users-of-a-django-project) has an example.
#[derive(Clone, PartialEq)]
pub struct DjangoSession {
    key: Option<String>,
    values: SessionValues,
}

/// The values of a session.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SessionValues {
    pub(super) known: Map<String, Value>,
    /// The JSON of values that are no [`Value`].
    pub(super) odd: BTreeMap<String, Box<str>>,
}

impl SessionValues {
    /// Reads the JSON that Django's `JSONSerializer` wrote.
    pub(super) fn read(text: &str) -> Result<Self, Unreadable> {
        match json::read(text) {
            Ok(Value::Object(known)) => Ok(known.into()),
            Ok(_) => Err(Unreadable::NotMap),
            // The pickles of all protocols since the second start with this byte.
            Err(_) if text.starts_with('\u{80}') => Err(Unreadable::Pickle),
            Err(_) => Self::read_apart(&json::repaired(text)),
        }
    }

    /// Reads each value alone.
    fn read_apart(text: &str) -> Result<Self, Unreadable> {
        let all: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)
            .map_err(|error| if error.is_data() { Unreadable::NotMap } else { Unreadable::NotJson })?;
        let mut values = Self::default();
        for (name, raw) in all {
            match serde_json::from_str(raw.get()) {
                Ok(value) => drop(values.known.insert(name, value)),
                Err(_) => drop(values.odd.insert(name, raw.into())),
            }
        }
        Ok(values)
    }
}

impl From<Map<String, Value>> for SessionValues {
    fn from(known: Map<String, Value>) -> Self {
        Self { known, odd: BTreeMap::new() }
    }
}

impl DjangoSession {
    /// A session with these values, for tests.
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self { key: None, values: values.into() }
    }

    pub(super) fn with_key(key: Option<String>, values: SessionValues) -> Self {
        Self { key, values }
    }

    /// Reads the value of this name. `None` if there is no such value.
    ///
    /// Times, decimals and UUIDs are texts, as Django's JSON serializer writes them.
    ///
    /// # Errors
    /// If the value is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> serde_json::Result<Option<T>> {
        match self.values.odd.get(name) {
            Some(odd) => serde_json::from_str(odd).map(Some),
            None => self.value(name).map(T::deserialize).transpose(),
        }
    }

    /// The value of this name, as JSON. `None` also if it has only [`raw`](Self::raw) text.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.known.get(name)
    }

    /// The JSON text of a value that cannot be a [`Value`]. `None` for all other values.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.values.odd.get(name).map(|odd| &**odd)
    }

    /// All values but those with only [`raw`](Self::raw) text. Django's own are among them: their names begin with `_`.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.known.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The key of a session that came from a store: the text in the cookie.
    ///
    /// It is a secret: anyone who has it can use the session.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// Shows the names of the values only.
impl fmt::Debug for DjangoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DjangoSession ")?;
        f.debug_set().entries(self.values.known.keys()).entries(self.values.odd.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_value_does_not_lose_the_others() {
        let long = "9".repeat(400);
        let deep = format!("{}{}", "[".repeat(900), "]".repeat(900));
        let text = format!(
            r#"{{"_auth_user_id":"7","cut":"a\ud83d","nan":[NaN,-Infinity],"long":{long},"cart":{{"id":3,"n":{long}}},"deep":{deep}}}"#
        );
        let session = DjangoSession::with_key(None, SessionValues::read(&text).unwrap());
        assert_eq!(session.value("_auth_user_id"), Some(&"7".into()));
        assert_eq!(session.get::<String>("cut").unwrap(), Some("a\u{fffd}".to_owned()));
        assert_eq!(session.get::<Vec<Option<f64>>>("nan").unwrap(), Some(vec![None, None]));
        assert_eq!((session.raw("long"), session.value("long")), (Some(long.as_str()), None));
        assert!(session.get::<u64>("long").is_err());
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Cart {
            id: u32,
        }
        assert_eq!(session.get("cart").unwrap(), Some(Cart { id: 3 }));
        assert_eq!(session.raw("deep"), Some(deep.as_str()));
        assert_eq!((session.raw("cut"), session.values().count()), (None, 3));
        assert!(format!("{session:?}").contains("deep"));
    }

    #[test]
    fn values_are_read_as_types() {
        let values = serde_json::json!({"count": 3, "tags": ["a"], "none": null, "secret": "hidden"});
        let session = DjangoSession::new(values.as_object().unwrap().clone());
        assert_eq!(session.get::<u32>("count").unwrap(), Some(3));
        assert_eq!(session.get::<Vec<String>>("tags").unwrap(), Some(vec!["a".to_owned()]));
        assert_eq!(session.get::<Option<u8>>("none").unwrap(), Some(None));
        assert_eq!(session.get::<u32>("missing").unwrap(), None);
        assert!(session.get::<u32>("tags").is_err());
        assert_eq!((session.value("count"), session.values().count()), (Some(&3.into()), 4));
        let shown = format!("{session:?}");
        assert!(shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    }
}
