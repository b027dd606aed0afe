use std::io::Write;

use serde_json::json;

use super::*;

/// Signed by Django 5.2 with `test-secret-key`, at 1,700,000,000 s.
const VECTOR: &str = ".eJyrVopPLC3JiC8tTi2Kz0xRslIyMVLSQRZMSkzOTs0DyaRkJeal5-sl5-eVFGUm6YGU6EFli_V881NSc5ygalEMyEgszgDqTkxKVqoFAKgoJ6g:1r31eq:fkOIiW18oLN7aOEE4qEx2h3Ov-sDdJOh_FfUhvFKQ4o";
const DATABASE: &str = "django.contrib.sessions.SessionStoresigner";
const COOKIES: &str = "django.contrib.sessions.backends.signed_cookiessigner";
const HASH: &str = "django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn keys(salt: &'static str, secrets: &[&str]) -> SigningKeys {
    let mut keys = SigningKeys::new(salt);
    secrets.iter().for_each(|secret| keys.add(secret.as_bytes()));
    keys
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn now() -> SystemTime {
    at(1_700_000_000)
}

fn own() -> SigningKeys {
    keys(DATABASE, &["test-secret-key"])
}

/// Signs a payload with any time, as Django does.
fn signed(payload: &str, time: &str) -> String {
    let text = format!("{payload}:{time}");
    let code = own().keys[0].clone().chain_update(&text).finalize().into_bytes();
    format!("{text}:{}", URL_SAFE_NO_PAD.encode(code))
}

fn unreadable(payload: &[u8]) -> Unreadable {
    match own().loads(&signed(&URL_SAFE_NO_PAD.encode(payload), "1r31eq"), Some(WEEK), now()) {
        Err(SignedTextError::Unreadable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn zlib(bytes: &[u8]) -> String {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    format!(".{}", URL_SAFE_NO_PAD.encode(encoder.finish().unwrap()))
}

#[test]
fn a_session_that_django_signed_is_read() {
    let session = own().loads(VECTOR, Some(WEEK), now()).unwrap();
    let expected = json!({
        "_auth_user_id": "42",
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": "abc",
    });
    assert_eq!(json!(session.known), expected);
}

#[test]
fn the_hash_of_a_password_is_the_same_as_djangos() {
    let hash = "b3db42b24de3326b795defc8a1f10b8855c6f542c394ad14f8b0a554d99e3699";
    let password = "pbkdf2_sha256$1$salt$hash";
    let keys = keys(HASH, &["new", "test-secret-key"]);
    assert!(keys.verify_hex(password, hash), "also under a fallback");
    assert!(!keys.verify_hex("pbkdf2_sha256$1$salt$other", hash), "the password was changed");
    for wrong in ["", "b3", &hash[2..], &hash.to_uppercase(), "g", &format!("{hash}00"), &hash[1..]] {
        assert!(!keys.verify_hex(password, wrong), "{wrong:?}");
    }
}

#[test]
fn a_text_with_a_changed_byte_is_refused() {
    for index in 0..VECTOR.len() {
        for byte in [b'A', b'B', b':', b'.', b'-', b'='] {
            let mut changed = VECTOR.as_bytes().to_vec();
            if changed[index] == byte {
                continue;
            }
            changed[index] = byte;
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                own().loads(&changed, Some(WEEK), now()),
                Err(SignedTextError::BadSignature),
                "{changed}"
            );
        }
        let cut = &VECTOR[..index];
        assert_eq!(own().loads(cut, Some(WEEK), now()), Err(SignedTextError::BadSignature), "{cut}");
    }
    for longer in [format!("{VECTOR}A"), format!("{VECTOR}="), format!(" {VECTOR}"), format!("{VECTOR}:")] {
        assert_eq!(own().loads(&longer, Some(WEEK), now()), Err(SignedTextError::BadSignature), "{longer}");
    }
}

#[test]
fn the_key_and_the_salt_must_be_the_same() {
    let loads = |keys: SigningKeys| keys.loads(VECTOR, Some(WEEK), now()).map(|session| session.known.len());
    assert_eq!(loads(keys(DATABASE, &["new", "test-secret-key"])), Ok(3), "a fallback");
    assert_eq!(loads(keys(DATABASE, &["another", "test-secret-ke", ""])), Err(SignedTextError::BadSignature));
    assert_eq!(loads(keys(DATABASE, &[])), Err(SignedTextError::BadSignature));
    assert_eq!(loads(keys(COOKIES, &["test-secret-key"])), Err(SignedTextError::BadSignature));
}

#[test]
fn the_age_is_bounded() {
    let loads =
        |seconds, max_age| own().loads(VECTOR, max_age, at(seconds)).map(|session| session.known.len());
    let week = WEEK.as_secs();
    assert_eq!(loads(1_700_000_000 + week, Some(WEEK)), Ok(3));
    assert_eq!(loads(1_700_000_001 + week, Some(WEEK)), Err(SignedTextError::Expired));
    assert_eq!(loads(1_700_000_001 + week, None), Ok(3), "a row of the database expires by its date");
    assert_eq!(loads(1_700_000_000 - 300, Some(WEEK)), Ok(3), "clocks differ a little");
    assert_eq!(loads(1_700_000_000 - 301, Some(WEEK)), Err(SignedTextError::FromTheFuture));
}

#[test]
fn times_are_base_62() {
    assert_eq!(decode_base62("1r31eq"), Some(Duration::from_secs(1_700_000_000)));
    assert_eq!(decode_base62("0"), Some(Duration::ZERO));
    for wrong in ["", "-1", "1r31e_", "zzzzzzzzzzzzzzzzzzzz"] {
        assert_eq!(decode_base62(wrong), None, "{wrong}");
        let text = signed(&URL_SAFE_NO_PAD.encode("{}"), wrong);
        let refused = own().loads(&text, Some(WEEK), now()).unwrap_err();
        assert_eq!(refused, SignedTextError::Unreadable(Unreadable::Damaged), "{wrong}");
    }
    let last = signed(&URL_SAFE_NO_PAD.encode("{}"), "LygHa16AHYF");
    assert!(own().loads(&last, Some(WEEK), now()).is_err(), "a time too late for any clock");
}

#[test]
fn a_signed_text_that_is_not_a_session_is_refused() {
    assert_eq!(unreadable(b"\x80\x04}\x94."), Unreadable::Pickle);
    assert_eq!(unreadable(b""), Unreadable::NotJson);
    assert_eq!(unreadable(b"{"), Unreadable::NotJson);
    assert_eq!(unreadable(b"{} {}"), Unreadable::NotJson);
    assert_eq!(unreadable(b"[1]"), Unreadable::NotMap);
    assert_eq!(unreadable(b"\"text\""), Unreadable::NotMap);
    assert_eq!(unreadable(b"{\"a\":NaN"), Unreadable::NotJson);
    assert_eq!(unreadable(b"[NaN,1]"), Unreadable::NotMap);
    assert_eq!(unreadable(b"[1e999]"), Unreadable::NotMap);
    assert_eq!(unreadable(&vec![b' '; MOST_BYTES]), Unreadable::TooLarge);

    let loads = |payload: &str| own().loads(&signed(payload, "1r31eq"), Some(WEEK), now());
    let damaged = Err(SignedTextError::Unreadable(Unreadable::Damaged));
    for payload in [".", ".AAAA", "not base64!", "e30=", "", &zlib(b"{\"a\":1}")[..12]] {
        let found = loads(payload);
        assert!(
            found == damaged || found == Err(SignedTextError::Unreadable(Unreadable::NotJson)),
            "{payload}"
        );
    }
    let without_time = {
        let code = own().keys[0].clone().chain_update("e30").finalize().into_bytes();
        format!("e30:{}", URL_SAFE_NO_PAD.encode(code))
    };
    assert_eq!(own().loads(&without_time, None, now()), damaged);
}

#[test]
fn the_inflated_size_is_bounded() {
    let bomb = zlib(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000, "64 MiB in {} bytes", bomb.len());
    let refused = own().loads(&signed(&bomb, "1r31eq"), None, now()).unwrap_err();
    assert_eq!(refused, SignedTextError::Unreadable(Unreadable::TooLarge));
    let most = format!("{{\"a\":\"{}\"}}", "b".repeat(MOST_BYTES - 8));
    assert_eq!(
        own()
            .loads(&signed(&zlib(most.as_bytes()), "1r31eq"), None, now())
            .map(|session| session.known.len()),
        Ok(1)
    );
}

#[test]
fn bytes_are_latin_1_as_in_django() {
    let session = own().loads(&signed(&URL_SAFE_NO_PAD.encode(b"{\"a\":\"\xe9\"}"), "1r31eq"), None, now());
    assert_eq!(session.unwrap().known["a"], "é");
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", own()), "1 keys");
}
