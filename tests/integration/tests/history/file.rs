//! A server in a process of its own is replaced, and its history is in a file.

#![cfg(unix)]

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use integration_tests::{
    history::{Memory, Reader},
    program::Program,
};

use super::numbers;

/// A folder for the history file of one test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("greenroom-lasting-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> String {
        self.0.join("history").to_str().unwrap().to_owned()
    }

    async fn start(&self) -> Program {
        Program::start_with(env!("CARGO_BIN_EXE_lasting"), &[&self.file()]).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn open(server: &Program, memory: Option<Memory>) -> Reader {
    Reader::at(server.address(), "/chat_1/", memory).await
}

/// Ends a server as a deploy does.
async fn stop(server: Program) {
    server.signal("TERM");
    ended(server).await;
}

async fn ended(mut server: Program) {
    let (lines, status) = server.ended().await;
    assert_eq!((lines.last().map(String::as_str), status.code()), (Some("the end"), Some(0)));
}

#[actix_web::test]
async fn a_deploy_in_the_middle_of_talk_loses_nothing() {
    let folder = Folder::new();
    let mut server = folder.start().await;
    let (mut speaker, mut listener) = (open(&server, None).await, open(&server, None).await);
    let mut heard = Vec::new();
    let mut said = 0;
    for deploy in 0..3 {
        for _ in 0..20 {
            speaker.say(&said.to_string()).await;
            said += 1;
            speaker.text().await;
        }
        // The listener is away before the deploy, and misses what is said then.
        heard.extend(listener.texts(15).await);
        let away = listener.cut();
        for _ in 0..10 {
            speaker.say(&said.to_string()).await;
            said += 1;
            speaker.text().await;
        }
        // What nobody waits for is sent while the server is asked to end.
        speaker.say(&format!("others:{said}")).await;
        speaker.say(&(said + 1).to_string()).await;
        assert_eq!(speaker.text().await, (said + 1).to_string());
        said += 2;
        server.signal("TERM");
        assert_eq!(speaker.closed().await.0, 1012);
        ended(server).await;
        server = folder.start().await;
        speaker = open(&server, Some(speaker.cut())).await;
        listener = open(&server, Some(away)).await;
        assert_eq!(
            (speaker.outcome(), listener.outcome()),
            ("recovered".into(), "recovered".into()),
            "{deploy}"
        );
        heard.extend(listener.texts(17).await);
        // The speaker has it all, also what it did not want to hear itself.
        speaker.say(&said.to_string()).await;
        assert_eq!(speaker.text().await, said.to_string());
        heard.push(listener.text().await);
        said += 1;
    }
    assert_eq!(heard, numbers(0..said));
}

#[actix_web::test]
async fn a_server_that_was_killed_leaves_nothing_that_lies() {
    let folder = Folder::new();
    let server = folder.start().await;
    let mut reader = open(&server, None).await;
    reader.say("1").await;
    assert_eq!(reader.text().await, "1");
    let before = reader.cut();
    stop(server).await;

    let mut server = folder.start().await;
    let mut reader = open(&server, Some(before.clone())).await;
    assert_eq!(reader.outcome(), "recovered");
    reader.say("2").await;
    assert_eq!(reader.text().await, "2");
    server.signal("KILL");
    server.ended().await;

    let server = folder.start().await;
    for memory in [before, reader.cut()] {
        let mut reader = open(&server, Some(memory)).await;
        assert_eq!(reader.outcome(), "epoch");
        reader.say("3").await;
        assert_eq!(reader.text().await, "3");
    }
}

#[actix_web::test]
async fn a_disk_that_is_full_at_the_end_makes_all_begin_anew() {
    let folder = Folder::new();
    // The claim fits into what a file may have, and the history does not.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} {} 2>/dev/null",
        env!("CARGO_BIN_EXE_lasting"),
        folder.file()
    );
    let server = Program::start_with("sh", &["-c", &limited]).await;
    let mut reader = open(&server, None).await;
    for number in numbers(0..100) {
        reader.say(&number).await;
        assert_eq!(reader.text().await, number);
    }
    let memory = reader.cut();
    stop(server).await;
    let left: Vec<_> = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["history"]);
    let server = folder.start().await;
    let reader = open(&server, Some(memory)).await;
    assert_eq!(reader.outcome(), "epoch");
}

#[actix_web::test]
async fn a_path_that_can_never_work_ends_the_start_with_a_reason() {
    let folder = Folder::new();
    let path = folder.0.join("none/history");
    let output = Command::new(env!("CARGO_BIN_EXE_lasting")).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("the history file {} cannot be used: ", path.display())), "{text}");
    assert_eq!(output.status.code(), Some(1));
}
