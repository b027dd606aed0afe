//! Typed values that middleware leaves for the consumer.

use super::Scope;

/// A separate slot, so that a user and an extension may have the same type.
struct UserSlot<U>(U);
struct SessionSlot<S>(S);
struct UserKey(String);

impl Scope {
    /// Keeps a value for later middleware and the consumer. Returns the value it replaces.
    ///
    /// A scope holds one value of each type.
    pub fn insert<T: 'static>(&mut self, value: T) -> Option<T> {
        self.extensions.insert(value)
    }

    /// The value of this type that [`insert`](Self::insert) kept.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.extensions.get()
    }

    /// Takes the value of this type out.
    pub fn remove<T: 'static>(&mut self) -> Option<T> {
        self.extensions.remove()
    }

    /// The user, if middleware found out who the client is: Channels' `scope["user"]`.
    ///
    /// [`AuthMiddleware`](crate::middleware::AuthMiddleware) sets it, or any middleware by
    /// [`set_user`](Self::set_user). `U` is the application's own type. For another type the result is `None`.
    #[must_use]
    pub fn user<U: 'static>(&self) -> Option<&U> {
        self.extensions.get::<UserSlot<U>>().map(|user| &user.0)
    }

    /// Sets the user. Returns the user it replaces, if that has the same type.
    pub fn set_user<U: 'static>(&mut self, user: U) -> Option<U> {
        self.extensions.insert(UserSlot(user)).map(|user| user.0)
    }

    /// A text that names the user, if middleware has set it.
    ///
    /// A client that comes back to a group with [history](crate::history) must have the same.
    #[must_use]
    pub fn user_key(&self) -> Option<&str> {
        self.extensions.get::<UserKey>().map(|key| &*key.0)
    }

    /// Sets a text that names the user: the same for all connections of one user, such as an id of a database.
    ///
    /// A page gets a proof of where its user has joined each group with [history](crate::history), and can read back to
    /// there. With the key, this proof is worth nothing to another user. `DjangoAuth` sets it.
    pub fn set_user_key(&mut self, key: impl Into<String>) {
        self.extensions.insert(UserKey(key.into()));
    }

    /// The client's session, if middleware loaded one: Channels' `scope["session"]`.
    ///
    /// [`SessionMiddleware`](crate::middleware::SessionMiddleware) sets it, or any middleware by
    /// [`set_session`](Self::set_session). Greenroom does not save it. As in Channels, a consumer that changes a
    /// session saves it itself. So keep a handle that can save the session.
    #[must_use]
    pub fn session<S: 'static>(&self) -> Option<&S> {
        self.extensions.get::<SessionSlot<S>>().map(|session| &session.0)
    }

    /// Sets the client's session. Returns the session it replaces, if that has the same type.
    pub fn set_session<S: 'static>(&mut self, session: S) -> Option<S> {
        self.extensions.insert(SessionSlot(session)).map(|session| session.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_sessions_have_slots_beside_the_value_of_each_type() {
        let mut scope = Scope::builder("/").build();
        assert_eq!(scope.get::<u8>(), None);
        assert_eq!(scope.insert(1_u8), None);
        assert_eq!(scope.insert(2_u8), Some(1));
        assert_eq!(scope.set_user("ada"), None);
        assert_eq!(scope.set_session("s1"), None);
        assert_eq!(scope.get::<&str>(), None, "users and sessions are not extensions");
        assert_eq!((scope.user::<&str>(), scope.session::<&str>()), (Some(&"ada"), Some(&"s1")));
        assert_eq!(scope.user::<String>(), None);
        assert_eq!(scope.set_user("bob"), Some("ada"));
        assert_eq!(scope.remove::<u8>(), Some(2));
        assert_eq!(scope.remove::<u8>(), None);
    }
}
