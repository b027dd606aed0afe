use super::StoreError;

/// The names of Django's tables and columns.
///
/// | What | Default |
/// |---|---|
/// | [`session_table`](Self::session_table) | `django_session` |
/// | [`user_table`](Self::user_table), [`auth_user_model`](Self::auth_user_model) | `auth_user` |
/// | [`user_id_column`](Self::user_id_column) | `id` |
/// | [`username_column`](Self::username_column) | `username` |
///
/// The table of users must have a column `password`. The columns `username`, `is_active`, `is_staff` and
/// `is_superuser` are read if they exist. Without `is_active` all users are active, as in Django.
///
/// A name has at most 63 ASCII letters, digits and `_`, and does not begin with a digit. The name of a table may
/// have a schema and a `.` before it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct DjangoTables {
    session: String,
    user: String,
    user_id: String,
    username: String,
}

impl Default for DjangoTables {
    fn default() -> Self {
        Self {
            session: "django_session".to_owned(),
            user: "auth_user".to_owned(),
            user_id: "id".to_owned(),
            username: "username".to_owned(),
        }
    }
}

impl DjangoTables {
    /// The names in a project that uses `auth.User`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the table of sessions, for example of a model based on `AbstractBaseSession`.
    pub fn session_table(mut self, name: impl Into<String>) -> Self {
        self.session = name.into();
        self
    }

    /// Sets the table of users.
    pub fn user_table(mut self, name: impl Into<String>) -> Self {
        self.user = name.into();
        self
    }

    /// Sets the table of users by the value of `AUTH_USER_MODEL`.
    ///
    /// The table is the one that Django makes: `accounts_user` for `accounts.User`. If the model sets `db_table`,
    /// give that to [`user_table`](Self::user_table).
    pub fn auth_user_model(self, model: &str) -> Self {
        self.user_table(model.replacen('.', "_", 1).to_lowercase())
    }

    /// Sets the column of the users' primary key.
    pub fn user_id_column(mut self, name: impl Into<String>) -> Self {
        self.user_id = name.into();
        self
    }

    /// Sets the column of the model's `USERNAME_FIELD`, for example `email`.
    pub fn username_column(mut self, name: impl Into<String>) -> Self {
        self.username = name.into();
        self
    }

    /// Checks the names, and quotes them for SQL.
    pub(super) fn quoted(&self) -> Result<Quoted, StoreError> {
        let table = |name: &str| {
            let parts: Option<Vec<_>> = name.split('.').map(quote).collect();
            let parts = parts.filter(|parts| parts.len() <= 2);
            parts.map(|parts| parts.join(".")).ok_or_else(|| StoreError::BadName(name.to_owned()))
        };
        let column = |name: &str| quote(name).ok_or_else(|| StoreError::BadName(name.to_owned()));
        column(&self.username)?;
        Ok(Quoted {
            session: table(&self.session)?,
            user: table(&self.user)?,
            user_id: column(&self.user_id)?,
            username: self.username.clone(),
        })
    }
}

/// Names that have been checked.
#[derive(Debug)]
pub(super) struct Quoted {
    pub(super) session: String,
    pub(super) user: String,
    pub(super) user_id: String,
    /// Not quoted.
    username: String,
}

impl Quoted {
    /// The columns of a user to select, in the order of `StoredUser`.
    ///
    /// A column that does not exist is replaced by a constant. `text` and `flag` write SQL that turns a column into
    /// a text or a truth value.
    pub(super) fn user_columns(
        &self,
        known: &[String],
        text: impl Fn(&str) -> String,
        flag: impl Fn(&str) -> String,
    ) -> String {
        let column = |name: &str, make: &dyn Fn(&str) -> String, default: &str| {
            let there = known.iter().any(|known| known == name);
            if there { make(&format!("\"{name}\"")) } else { default.to_owned() }
        };
        [
            text("\"password\""),
            column(&self.username, &text, "NULL"),
            column("is_active", &flag, "TRUE"),
            column("is_staff", &flag, "FALSE"),
            column("is_superuser", &flag, "FALSE"),
        ]
        .join(", ")
    }
}

/// Puts a name into quotation marks. `None` if the name is invalid: so no name can end the quotation.
fn quote(name: &str) -> Option<String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = name.bytes().next()?;
    let is_name = name.len() <= 63 && !first.is_ascii_digit() && name.bytes().all(is_word);
    is_name.then(|| format!("\"{name}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_quoted() {
        let names = DjangoTables::new().session_table("public.sessions").auth_user_model("accounts.User");
        let quoted = names.user_id_column("user_ptr_id").quoted().unwrap();
        assert_eq!(quoted.session, "\"public\".\"sessions\"");
        assert_eq!((quoted.user.as_str(), quoted.user_id.as_str()), ("\"accounts_user\"", "\"user_ptr_id\""));
        let long = "a".repeat(64);
        for wrong in ["", ".", "a.", ".a", "a.b.c", "a b", "a\"", "a;--", "1a", "é", "a'", &long] {
            let refused = |tables: DjangoTables| {
                let error = tables.quoted().unwrap_err();
                assert!(matches!(&error, StoreError::BadName(name) if name == wrong), "{wrong}: {error}");
            };
            refused(DjangoTables::new().session_table(wrong));
            refused(DjangoTables::new().user_table(wrong));
            refused(DjangoTables::new().user_id_column(wrong));
            refused(DjangoTables::new().username_column(wrong));
        }
        assert!(DjangoTables::new().username_column("a.b").quoted().is_err(), "a column has no schema");
    }

    #[test]
    fn only_columns_that_are_there_are_read() {
        let quoted = DjangoTables::new().username_column("email").quoted().unwrap();
        let known = ["id", "password", "email", "is_active"].map(str::to_owned);
        let columns = quoted.user_columns(&known, |name| format!("t({name})"), |name| format!("f({name})"));
        assert_eq!(columns, "t(\"password\"), t(\"email\"), f(\"is_active\"), FALSE, FALSE");
    }
}
