//! The parameters that a route found in the path.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use smallvec::SmallVec;

use super::{PARAMS, Remaining, Scope, ScopeError};

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
    fn the_remaining_path_is_all_before_routing() {
        let mut scope = Scope::builder("/files/a/b").build();
        assert_eq!(scope.path_remaining(), "/files/a/b");
        scope.set_params([("rest", "a/b".into())].into_iter(), true);
        assert_eq!(scope.path_remaining(), "a/b");
        scope.set_params(std::iter::empty(), false);
        assert_eq!((scope.path_remaining(), scope.params().count()), ("", 0));
    }
}
