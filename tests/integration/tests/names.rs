//! Names of groups that Rust and Django make of one text.

use std::process::Stdio;

use greenroom::GroupName;
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use integration_tests::PATIENCE;

/// The function that the docs give to Django.
const FUNCTION: &str = include_str!("../../../framework/docs/group_name.py");

const READS: &str = r"
import json, sys
print(json.dumps([group_name(prefix, text) for prefix, text in json.load(sys.stdin)]))
";

/// Texts of many lengths, of bytes that are allowed in names, of others, and of the characters of an escape.
fn texts() -> Vec<(String, String)> {
    const ALPHABET: [char; 16] =
        ['a', 'Z', '0', '9', '-', '_', '.', '2', 'e', ' ', '/', '\0', '\n', '\u{e9}', '\u{1f375}', '!'];
    let mut number = 88_172_645_463_325_252_u64;
    let mut next = |below: u64| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number % below
    };
    let mut all = Vec::new();
    for prefix in ["", "user_", "chat.room-", "a b\u{e9}", &"p".repeat(40), &"q".repeat(120)] {
        for _ in 0..300 {
            let length = next(130);
            let kinds = 1 + next(16);
            let text = (0..length).map(|_| ALPHABET[next(kinds) as usize]).collect();
            all.push((prefix.to_owned(), text));
        }
    }
    all
}

#[actix_web::test]
async fn django_makes_the_same_name_of_any_text() {
    let texts = texts();
    let program = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut python = Command::new(program)
        .args(["-c", &format!("{FUNCTION}{READS}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 is installed");
    let mut input = python.stdin.take().expect("a pipe");
    input.write_all(serde_json::to_string(&texts).unwrap().as_bytes()).await.expect("Python reads");
    drop(input);
    let output = timeout(PATIENCE, python.wait_with_output()).await.expect("an answer in time").unwrap();
    let names: Vec<String> = serde_json::from_slice(&output.stdout).expect("a list of names");
    assert_eq!(names.len(), texts.len());
    for ((prefix, text), name) in texts.iter().zip(names) {
        assert_eq!(GroupName::escaped(prefix, text).as_str(), name, "{prefix:?} {text:?}");
        assert!(GroupName::new(&name).is_ok(), "{name}");
    }
}
