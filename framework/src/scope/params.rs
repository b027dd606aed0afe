//! The parameters that a route found in the path.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use smallvec::SmallVec;

use super::{PARAMS, Remaining, Scope, ScopeError, decode_form};
use crate::{
    Error,
    names::{MAX_NAME_LENGTH, NameError},
};

impl Scope {
    /// The parameter `name` of the route's pattern, as a `T`.
    ///
    /// # Errors
    /// [`ScopeError::NoParam`] if the pattern has no such parameter, [`ScopeError::BadParam`] if its text is not a
    /// `T`. The error has the parameter's name, its text and the reason.
    pub fn param<T>(&self, name: &str) -> Result<T, ScopeError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.param_str(name).ok_or_else(|| ScopeError::NoParam {
            name: name.to_owned(),
            known: self.params().map(|(name, _)| name.to_owned()).collect(),
            pattern: self.pattern(),
        })?;
        text.parse().map_err(|reason: T::Err| ScopeError::BadParam {
            name: name.to_owned(),
            text: text.to_owned(),
            reason: reason.to_string(),
        })
    }

    /// The text of the parameter `name`, percent-decoded.
    ///
    /// If nested routers use one name twice, the inner router's value wins.
    #[must_use]
    pub fn param_str(&self, name: &str) -> Option<&str> {
        self.params().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All parameters, percent-decoded, in the order of the pattern.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        (PARAMS..self.texts.len()).step_by(2).map(|at| (self.texts.text(at), self.texts.text(at + 1)))
    }

    /// The part of the path that the route left.
    ///
    /// If the pattern ends with a parameter that takes more than one segment (`/files/{rest:path}`), it is the text of
    /// that parameter. Otherwise it is empty. Before a route has matched, it is the whole path.
    #[must_use]
    pub fn path_remaining(&self) -> &str {
        match self.remaining {
            Remaining::All => self.path(),
            Remaining::LastParam => self.params().last().map_or("", |(_, value)| value),
            Remaining::Nothing => "",
        }
    }

    /// Puts the blame for a bad name on the part of the request that it was made of, if there is one.
    ///
    /// A name can also be wrong because the program puts a blank into it. So what is wrong with the name must be in the
    /// client's text.
    pub(crate) fn blame(&self, error: Error) -> Error {
        let blamed = error.downcast_ref::<NameError>().and_then(|name| self.source_of(name));
        blamed.map_or(error, Error::from)
    }

    fn source_of(&self, error: &NameError) -> Option<ScopeError> {
        let is_at_fault = |text: &str| match error {
            NameError::Empty { .. } => text.is_empty(),
            NameError::Forbidden { character, .. } => text.contains(*character),
            NameError::TooLong { length, .. } => length.saturating_sub(text.len()) <= MAX_NAME_LENGTH,
        };
        if let Some((name, text)) = self.params().find(|(_, text)| is_at_fault(text)) {
            let (name, text, reason) = (name.to_owned(), text.to_owned(), error.to_string());
            return Some(ScopeError::BadParam { name, text, reason });
        }
        let values = self.query_string().split('&').filter_map(|pair| pair.split_once('='));
        let mut values = values.map(|(_, value)| decode_form(value));
        values.any(|value| is_at_fault(&value)).then(|| ScopeError::BadQuery { reason: error.to_string() })
    }

    /// Replaces the parameters. `last_is_rest`: the last one took the rest of the path.
    pub(crate) fn set_params<'a>(
        &mut self,
        params: impl Iterator<Item = (&'a str, Cow<'a, str>)>,
        last_is_rest: bool,
    ) {
        let params: SmallVec<[(&str, Cow<'_, str>); 4]> = params.collect();
        let parts: SmallVec<[&[u8]; 8]> =
            params.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
        self.texts = self.texts.with_tail(PARAMS, &parts);
        self.remaining = if last_is_rest { Remaining::LastParam } else { Remaining::Nothing };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupName;

    #[test]
    fn params_are_parsed_and_errors_name_them() {
        let scope = Scope::builder("/room/x y/7/").param("room", "x y").param("id", "7").build();
        assert_eq!(scope.param::<u64>("id"), Ok(7));
        assert_eq!(scope.param_str("room"), Some("x y"));
        assert_eq!(scope.params().collect::<Vec<_>>(), [("room", "x y"), ("id", "7")]);
        let error = scope.param::<GroupName>("room").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("the path's parameter \"room\" is \"x y\": group name"), "{text}");
        let text = scope.param::<u64>("none").unwrap_err().to_string();
        assert_eq!(text, "the route has no parameter \"none\", only room, id");
        let text = Scope::builder("/").build().param::<u64>("id").unwrap_err().to_string();
        assert_eq!(text, "the route has no parameter \"id\": write {id} into its pattern");
    }

    #[test]
    fn a_bad_name_is_the_clients_fault_if_its_text_comes_from_the_client() {
        let scope = Scope::builder("/x y/?room=a%2Fb").param("room", "x y").build();
        let blamed = |name: String| {
            let error = scope.blame(GroupName::new(name).unwrap_err().into());
            error.downcast_ref::<ScopeError>().cloned()
        };
        assert!(
            matches!(blamed("room_x y".into()), Some(ScopeError::BadParam { name, .. }) if name == "room")
        );
        assert!(matches!(blamed("room_a/b".into()), Some(ScopeError::BadQuery { .. })));
        assert_eq!(blamed("room:x".into()), None, "the colon is the program's");
        assert_eq!(blamed("x".repeat(200)), None, "it is too long without the client's text too");
        assert_eq!(blamed(String::new()), None);
        let long = Scope::builder("/").param("room", &"x".repeat(98)).build();
        let error = long.blame(GroupName::new("room_".to_owned() + &"x".repeat(98)).unwrap_err().into());
        assert!(error.is::<ScopeError>());
    }

    #[test]
    fn the_remaining_path_is_all_before_routing() {
        let mut scope = Scope::builder("/files/a/b").build();
        assert_eq!(scope.path_remaining(), "/files/a/b");
        scope.set_params([("rest", "a/b".into())].into_iter(), true);
        assert_eq!(scope.path_remaining(), "a/b");
        scope.set_params(std::iter::empty(), false);
        assert_eq!((scope.path_remaining(), scope.params().count()), ("", 0));
    }
}
