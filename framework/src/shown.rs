//! The text of a client or of another program, in the form in which the log may show it.

use std::fmt::{self, Display, Write as _};

/// How many characters of a longer text are kept at its start.
const HEAD: usize = 200;
/// How many characters of a longer text are kept at its end. The end of an error often says what was expected.
const TAIL: usize = 100;

/// Shows a value without what could forge a line of the log, or make it too long.
///
/// Control characters, line breaks, and characters that change the direction of a text are escaped. The middle of a
/// long text is left out. `Debug` also puts the text into quotes.
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in cut(&self.0).chars() {
            match character {
                '"' | '\'' | '\\' => f.write_char(character)?,
                other => write!(f, "{}", other.escape_debug())?,
            }
        }
        Ok(())
    }
}

impl<T: Display> fmt::Debug for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&cut(&self.0), f)
    }
}

/// The start and the end of a text. A text of 1 MiB needs no memory for its middle.
fn cut(text: &impl Display) -> String {
    let mut cut = Cut { head: String::new(), room: HEAD, tail: String::new(), is_cut: false };
    // If the value's own `Display` fails, what it has written so far is shown.
    let _ = write!(cut, "{text}");
    if cut.is_cut {
        cut.head.push('…');
    }
    cut.head + &cut.tail
}

struct Cut {
    head: String,
    /// How many characters the head still takes.
    room: usize,
    tail: String,
    is_cut: bool,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let at = text.char_indices().nth(self.room).map_or(text.len(), |(at, _)| at);
        let (head, rest) = text.split_at(at);
        self.head.push_str(head);
        self.room -= head.chars().count();
        let end = end_of(rest);
        self.tail.push_str(end);
        let surplus = self.tail.len() - end_of(&self.tail).len();
        self.tail.drain(..surplus);
        self.is_cut |= surplus > 0 || end.len() < rest.len();
        Ok(())
    }
}

/// The last characters of a text.
fn end_of(text: &str) -> &str {
    text.char_indices().rev().nth(TAIL - 1).map_or(text, |(at, _)| &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_without_commands_to_a_terminal() {
        let text =
            "a \"b\" 'c' \\ é 漢\n\r\t\0\u{1b}[31m\u{7f}\u{85}\u{9b}\u{200f}\u{202e}\u{2028}\u{2066}\u{feff}";
        assert_eq!(
            Shown(text).to_string(),
            r#"a "b" 'c' \ é 漢\n\r\t\0\u{1b}[31m\u{7f}\u{85}\u{9b}\u{200f}\u{202e}\u{2028}\u{2066}\u{feff}"#
        );
        assert_eq!(format!("{:?}", Shown("a \"b\"\n")), r#""a \"b\"\n""#);
    }

    #[test]
    fn a_long_text_keeps_its_start_and_its_end() {
        for length in [0, 1, HEAD - 1, HEAD, HEAD + 1, HEAD + TAIL] {
            let text = "é".repeat(length);
            assert_eq!(Shown(&text).to_string(), text);
        }
        let text = format!("start{}end", "é".repeat(1 << 20));
        let shown = Shown(&text).to_string();
        assert_eq!(shown.chars().count(), HEAD + 1 + TAIL);
        assert!(shown.starts_with("start") && shown.ends_with("end") && shown.contains('…'), "{shown}");
    }

    #[test]
    fn a_text_that_comes_in_parts_is_cut_in_the_same_way() {
        struct Parts<'a>(&'a [char], usize);
        impl Display for Parts<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.chunks(self.1).try_for_each(|part| f.write_str(&part.iter().collect::<String>()))
            }
        }
        for length in [HEAD, HEAD + 1, HEAD + TAIL, HEAD + TAIL + 1, 1000] {
            let characters: Vec<char> =
                ('a'..='ÿ').cycle().filter(|c| c.is_alphanumeric()).take(length).collect();
            let whole = Shown(characters.iter().collect::<String>()).to_string();
            for size in [1, 7, 99, 100, 101, 300] {
                assert_eq!(Shown(Parts(&characters, size)).to_string(), whole, "{length} {size}");
            }
        }
    }
}
