//! Recognises parameters as other routers write them, and says how they are written here.

/// The converters, and what other routers call them.
const CONVERTERS: [(&str, &[&str]); 5] = [
    (
        "int",
        &[
            "integer", "number", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64",
            "u128", "usize",
        ],
    ),
    ("path", &["any", "rest", "tail", "wildcard"]),
    ("slug", &[]),
    ("str", &["string", "text"]),
    ("uuid", &["guid"]),
];

/// What is meant by a segment without braces, if another router takes it for a parameter.
///
/// A fixed segment such as `v1:batch` or `(a)` is none.
pub(super) fn segment(text: &str) -> Option<String> {
    // Rails, Express, Phoenix, axum before 0.8: `:id`, `*rest`.
    if let Some(name) = text.strip_prefix(':').map(beginning).filter(|name| !name.is_empty()) {
        return Some(format!("`{{{name}}}`, or `{{{name}:int}}` for a number"));
    }
    if text.starts_with('*') {
        return Some(rest_of_path(text));
    }
    // `re_path` of Django: `(?P<id>[0-9]+)`.
    if let Some((_, named)) = text.split_once("(?P<").or_else(|| text.split_once("(?<")) {
        return Some(format!("`{{{}:[0-9]+}}`, with the regex behind the colon", beginning(named)));
    }
    if text.contains('\\') || text.starts_with('^') {
        return Some("`{name:regex}`, such as `{id:[0-9]+}`".to_owned());
    }
    // Django, Flask, Rocket: `<int:id>`, `<id>`, `<rest..>`.
    let (_, inside) = text.split_once('<')?;
    let (inside, _) = inside.split_once('>')?;
    Some(match inside.split_once(':') {
        Some((converter, name)) => format!("`{{{name}:{}}}`", known(converter).unwrap_or("str")),
        None if inside.ends_with("..") => rest_of_path(inside),
        None => format!("`{{{inside}}}`"),
    })
}

/// What is meant by the inside of braces, if another router writes it so.
pub(super) fn braces(inside: &str) -> Option<String> {
    // axum since 0.8, Go, ASP.NET: `{*rest}`, `{rest...}`, `{**rest}`.
    let Some((name, converter)) = inside.split_once(':') else {
        let is_rest = inside.starts_with('*') || inside.ends_with('*') || inside.ends_with("..");
        return is_rest.then(|| rest_of_path(inside));
    };
    match known(converter) {
        // It is written as it is here.
        Some(right) if right == converter => None,
        Some(right) => Some(format!("`{{{name}:{right}}}`")),
        // Django's order: `{int:id}`.
        None if known(name) == Some(name) && beginning(converter) == converter && !converter.is_empty() => {
            Some(format!("`{{{converter}:{name}}}`"))
        }
        None => None,
    }
}

fn rest_of_path(text: &str) -> String {
    match beginning(text.trim_start_matches('*')) {
        "" => "`{rest:path}`".to_owned(),
        name => format!("`{{{name}:path}}`"),
    }
}

/// The characters at the start of a text that may be a name.
fn beginning(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The converter with this name, or which another router calls so.
fn known(name: &str) -> Option<&'static str> {
    let found = CONVERTERS.iter().find(|(own, others)| *own == name || others.contains(&name))?;
    Some(found.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_routers_write_is_recognised() {
        for (text, meant) in [
            (":id", "`{id}`, or `{id:int}` for a number"),
            (":id.json", "`{id}`, or `{id:int}` for a number"),
            ("*", "`{rest:path}`"),
            ("**", "`{rest:path}`"),
            ("*file", "`{file:path}`"),
            ("<int:id>", "`{id:int}`"),
            ("<string:name>", "`{name:str}`"),
            ("<id>", "`{id}`"),
            ("v<int:id>", "`{id:int}`"),
            ("<file..>", "`{file:path}`"),
            ("(?P<id>[0-9]+)", "`{id:[0-9]+}`, with the regex behind the colon"),
            ("\\d+", "`{name:regex}`, such as `{id:[0-9]+}`"),
            ("^rooms", "`{name:regex}`, such as `{id:[0-9]+}`"),
        ] {
            assert_eq!(segment(text).as_deref(), Some(meant), "{text}");
        }
        for (inside, meant) in [
            ("int:id", "`{id:int}`"),
            ("id:u32", "`{id:int}`"),
            ("id:integer", "`{id:int}`"),
            ("name:string", "`{name:str}`"),
            ("*file", "`{file:path}`"),
            ("**file", "`{file:path}`"),
            ("file*", "`{file:path}`"),
            ("file...", "`{file:path}`"),
            ("*", "`{rest:path}`"),
        ] {
            assert_eq!(braces(inside).as_deref(), Some(meant), "{inside}");
        }
    }

    #[test]
    fn fixed_texts_and_own_parameters_are_left_alone() {
        for text in ["", "room", "v1:batch", "a*b", "caf\u{e9} x", "(a)", "a<b", "@me", "a.b", ":", "~", "$"]
        {
            assert_eq!(segment(text), None, "{text}");
        }
        for inside in ["id", "id:int", "int", "path:path", "x:[0-9]*", "x:a..", "x:.*", "int:[0-9]+", "x:foo"]
        {
            assert_eq!(braces(inside), None, "{inside}");
        }
    }
}
