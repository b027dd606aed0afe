//! Typed values that middleware leaves for the consumer.

use super::Scope;

/// A slot of its own, so that a user and an extension may have one type.
struct UserSlot<U>(U);
struct SessionSlot<S>(S);

impl Scope {
    /// Keeps a value for those who come after; one of each type. Returns the value it replaces.
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

    /// Who the client is, where middleware found out: Channels' `scope["user"]`.
    ///
    /// [`AuthMiddleware`](crate::middleware::AuthMiddleware) fills it, or any middleware by
    /// [`set_user`](Self::set_user). `U` is the application's own type; asked for another type, it is `None`.
    #[must_use]
    pub fn user<U: 'static>(&self) -> Option<&U> {
        self.extensions.get::<UserSlot<U>>().map(|user| &user.0)
    }

    /// Says who the client is. Returns the user it replaces, where it has the same type.
    pub fn set_user<U: 'static>(&mut self, user: U) -> Option<U> {
        self.extensions.insert(UserSlot(user)).map(|user| user.0)
    }

    /// The client's session, where middleware loaded one: Channels' `scope["session"]`.
    ///
    /// [`SessionMiddleware`](crate::middleware::SessionMiddleware) fills it, or any middleware by
    /// [`set_session`](Self::set_session). Nothing saves it: as in Channels, a consumer that changes a session saves
    /// it itself, so put a handle in here that can.
    #[must_use]
    pub fn session<S: 'static>(&self) -> Option<&S> {
        self.extensions.get::<SessionSlot<S>>().map(|session| &session.0)
    }

    /// Keeps the client's session. Returns the session it replaces, where it has the same type.
    pub fn set_session<S: 'static>(&mut self, session: S) -> Option<S> {
        self.extensions.insert(SessionSlot(session)).map(|session| session.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_of_each_type_and_slots_of_their_own() {
        let mut scope = Scope::builder("/").build();
        assert_eq!(scope.get::<u8>(), None);
        assert_eq!(scope.insert(1_u8), None);
        assert_eq!(scope.insert(2_u8), Some(1));
        assert_eq!(scope.set_user("ada"), None);
        assert_eq!(scope.set_session("s1"), None);
        assert_eq!(scope.get::<&str>(), None, "users and sessions are no extensions");
        assert_eq!((scope.user::<&str>(), scope.session::<&str>()), (Some(&"ada"), Some(&"s1")));
        assert_eq!(scope.user::<String>(), None);
        assert_eq!(scope.set_user("bob"), Some("ada"));
        assert_eq!(scope.remove::<u8>(), Some(2));
        assert_eq!(scope.remove::<u8>(), None);
    }
}
