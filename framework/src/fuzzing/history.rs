//! What a client gives back when it resumes: the frame, and the signed texts in it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::json;

use crate::{
    ChannelName, Message,
    groups::history::{
        position::{Epoch, Position, Tag},
        token::{FloorToken, Forged, Gid, Secret, UserHash, connection_id, read_connection_id},
    },
    wire::history::{
        resume::{BadResume, LARGEST, MOST_LOGS, MOST_WAS, Named, ResumeRequest},
        up::Up,
    },
};

/// Reads a message of a client in the marked form, and the request to resume that it may hold.
///
/// A message is passed on without its first byte. A request is an error, or within the bounds and the same if it is
/// written again. The first byte chooses the kind of the message.
pub fn resume(data: &[u8]) {
    let Some((settings, bytes)) = data.split_first() else { return };
    let message = match std::str::from_utf8(bytes) {
        Ok(text) if settings & 1 == 0 => Message::Text(text.into()),
        _ => Message::Binary(Bytes::copy_from_slice(bytes)),
    };
    match Up::read(message.clone()) {
        Up::Message(read) => assert_eq!(Up::written(&read), message),
        Up::Control(json) => {
            assert_eq!(message.as_text(), Some(&*["c", &json].concat()));
            request(&json, settings >> 1);
        }
        Up::Unknown => {
            let known: &[u8] = if message.as_text().is_some() { b"cm" } else { &[0] };
            assert!(message.as_bytes().first().is_none_or(|first| !known.contains(first)));
        }
    }
}

fn request(text: &str, more: u8) {
    let request = match ResumeRequest::read(text) {
        Ok(Some(request)) => request,
        Ok(None) => return,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(text.len() <= LARGEST && request.was.len() <= MOST_WAS && request.logs.len() <= MOST_LOGS);
    assert!(request.logs.iter().all(|log| log.tag < 1 << 24 && log.foreign.is_finite()));
    let again = written(&request);
    assert_eq!(ResumeRequest::read(&again).expect("a written request can be read").as_ref(), Some(&request));

    // With more connections and logs than there were, up to one over each bound.
    let mut large = request;
    if more & 1 == 1 && !large.was.is_empty() {
        large.was = large.was.into_iter().cycle().take(MOST_WAS + usize::from(more >> 1 & 1)).collect();
    }
    if more & 4 == 4 && !large.logs.is_empty() {
        large.logs = large.logs.into_iter().cycle().take(MOST_LOGS + usize::from(more >> 3 & 1)).collect();
    }
    let text = written(&large);
    match ResumeRequest::read(&text) {
        // They are too many to be printed.
        Ok(read) => assert!(read == Some(large), "a request within the bounds is read as it was written"),
        Err(BadResume::TooLarge) => assert!(text.len() > LARGEST),
        Err(BadResume::TooManyLogs) => assert!(large.logs.len() > MOST_LOGS),
        Err(BadResume::TooManyWas) => assert!(large.was.len() > MOST_WAS),
        Err(BadResume::Json(error)) => panic!("a written request can be read: {error}"),
    }
}

fn written(request: &ResumeRequest) -> String {
    let log = |log: &Named| json!([log.token, log.offset, format!("{:06x}", log.tag), log.foreign]);
    let logs: Vec<_> = request.logs.iter().map(log).collect();
    json!({ "resume": { "was": request.was, "logs": logs } }).to_string()
}

/// Reads floor tokens, names of connections and of groups, and positions.
///
/// A text is refused, or it is what this layer itself writes for what was read. What was signed is read again, and with
/// one other character it is forged. The first byte chooses the character.
pub fn tokens(data: &[u8]) {
    let Some((at, bytes)) = data.split_first() else { return };
    let secret = Secret::from([7; 32]);
    if let Ok(text) = std::str::from_utf8(bytes) {
        given(&secret, text);
    }
    made(&secret, usize::from(*at), bytes);
}

/// What a client gives.
fn given(secret: &Secret, text: &str) {
    if let Ok(token) = FloorToken::read(secret, text) {
        assert_eq!(token.sign(secret), text);
    }
    if let Some(channel) = read_connection_id(secret, text) {
        assert_eq!(connection_id(secret, &channel), text);
    }
    if let Ok(gid) = text.parse::<Gid>() {
        assert_eq!(gid.to_string(), text);
    }
    if let Ok(position) = text.parse::<Position>() {
        let again = position.to_string();
        assert_eq!(again.parse(), Ok(position));
        // An offset may begin with zeros.
        assert!(
            again.len() <= text.len()
                && again.starts_with(&text[..17])
                && again.ends_with(&text[text.len() - 7..])
        );
    }
}

/// What this layer makes of any numbers.
fn made(secret: &Secret, at: usize, bytes: &[u8]) {
    let Some((gid, rest)) = bytes.split_first_chunk::<9>() else { return };
    let Some((numbers, user)) = rest.split_first_chunk::<20>() else { return };
    let number = |from: usize, length: usize| {
        numbers[from..from + length].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let Some(epoch) = Epoch::of(number(0, 8)) else { return };
    let user_text = std::str::from_utf8(user).ok();
    let gid = URL_SAFE_NO_PAD.encode(gid).parse().expect("it has nine bytes");
    let expires = number(16, 4) as u32;
    let token = FloorToken { gid, epoch, floor: number(8, 8), user: UserHash::of(user_text), expires };
    let text = token.sign(secret);
    assert_eq!(text.len(), 67);
    assert_eq!(FloorToken::read(secret, &text), Ok(token));
    assert_eq!(FloorToken::read(secret, &spoiled(&text, at)), Err(Forged));
    assert_eq!(FloorToken::read(&Secret::from([8; 32]), &text), Err(Forged));

    let tag = Tag::of(expires & 0xff_ffff).expect("it has 24 bits");
    let position = Position { epoch, offset: token.floor, tag };
    assert_eq!(position.to_string().parse(), Ok(position));

    let name: String = user.iter().map(|byte| char::from(b'a' + byte % 26)).take(90).collect();
    let Ok(channel) = ChannelName::new(&name) else { return };
    let id = connection_id(secret, &channel);
    assert_eq!(read_connection_id(&Secret::from([8; 32]), &id), None);
    assert_eq!(read_connection_id(secret, &spoiled(&id, at)), None);
    assert_eq!(read_connection_id(secret, &id), Some(channel));
}

/// The text with another character in one place.
fn spoiled(text: &str, at: usize) -> String {
    let at = at % text.len();
    let other = if text[at..].starts_with('0') { "1" } else { "0" };
    [&text[..at], other, &text[at + 1..]].concat()
}
