//! What the words of a type show.

use syn::Type;

/// The types of the standard library that are written as something else than a map with keys.
const NO_MAPS: [&str; 24] = [
    "BTreeSet", "HashSet", "Option", "String", "Vec", "VecDeque", "bool", "char", "f32", "f64", "i8", "i16",
    "i32", "i64", "i128", "isize", "str", "u8", "u16", "u32", "u64", "u128", "usize", "PathBuf",
];

/// A description of the type, if its words show that it is written as something else than a map, so that it cannot be an event.
///
/// A macro sees only words. A type of the user's own with such a name is refused too.
pub(crate) fn not_an_event(of: &Type) -> Option<String> {
    let what = match of {
        Type::Group(group) => return not_an_event(&group.elem),
        Type::Paren(paren) => return not_an_event(&paren.elem),
        Type::Reference(reference) => return not_an_event(&reference.elem),
        Type::Array(_) => "an array",
        Type::Slice(_) => "a slice",
        Type::Tuple(_) => "a tuple",
        Type::Path(path) => {
            let name = path.path.segments.last()?.ident.to_string();
            return NO_MAPS.contains(&name.as_str()).then(|| format!("`{name}`"));
        }
        _ => return None,
    };
    Some(what.to_owned())
}
