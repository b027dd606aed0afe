use std::time::Duration;

use super::*;

fn secret() -> Secret {
    Secret::from(std::array::from_fn(|at| at as u8))
}

fn token() -> FloorToken {
    FloorToken {
        gid: Gid::of(&GroupName::new("chat_lobby").unwrap()),
        epoch: Epoch::of(0x0123_4567_89ab_cdef).unwrap(),
        floor: 1_842,
        user: UserHash::of(Some("42")),
        expires: 1_800_000_000,
    }
}

#[test]
fn the_bytes_are_those_that_another_program_computes() {
    // By Python's hmac, hashlib and base64.
    assert_eq!(token().gid.to_string(), "XIco3C3itxrz");
    assert_eq!(UserHash::of(Some("42")).0, [0x4c, 0xd5, 0xec, 0x58, 0x94, 0x13, 0x3b, 0xf3]);
    assert_eq!(UserHash::of(None).0, [0xb1, 0xe9, 0x97, 0xc2, 0x72, 0x54, 0xb9, 0xc7]);
    let signed = "AVyHKNwt4rca8wEjRWeJq83vAAAAAAAABzJM1exYlBM782tJ0gBuYWddL4s9BlzViVM";
    assert_eq!(token().sign(&secret()), signed);
    let channel = ChannelName::new("specific.a1b2!c3d4").unwrap();
    assert_eq!(connection_id(&secret(), &channel), "specific.a1b2!c3d4~d69168c0eee5fe11");
}

#[test]
fn a_token_is_read_as_it_was_signed() {
    for token in [
        token(),
        FloorToken { floor: 0, expires: 0, user: UserHash::of(None), ..token() },
        FloorToken { floor: u64::MAX, expires: u32::MAX, epoch: Epoch::of(u64::MAX).unwrap(), ..token() },
    ] {
        let text = token.sign(&secret());
        assert_eq!(text.len(), 67);
        assert_eq!(FloorToken::read(&secret(), &text), Ok(token));
    }
}

#[test]
fn a_token_with_any_other_character_is_forged() {
    let text = token().sign(&secret());
    for at in 0..text.len() {
        for other in ["A", "z", "_", "=", "+", " ", "é", ""] {
            if text[at..].starts_with(other) && !other.is_empty() {
                continue;
            }
            let changed = [&text[..at], other, &text[at + 1..]].concat();
            assert_eq!(FloorToken::read(&secret(), &changed), Err(Forged), "{changed}");
        }
    }
    for changed in [String::new(), format!("{text}="), format!("{text}A"), text.repeat(1000)] {
        assert_eq!(FloorToken::read(&secret(), &changed), Err(Forged));
    }
    let others = Secret::random().unwrap();
    assert_eq!(FloorToken::read(&others, &text), Err(Forged));
}

#[test]
fn fields_that_no_layer_signs_are_forged_even_with_a_right_code() {
    let sign = |fields: &[u8]| {
        let code = secret().code(FloorToken::PURPOSE, fields).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([fields, &code[..CODE]].concat())
    };
    let bytes = URL_SAFE_NO_PAD.decode(token().sign(&secret())).unwrap();
    let fields = &bytes[..FIELDS];
    assert_eq!(FloorToken::read(&secret(), &sign(fields)), Ok(token()));
    let version = [&[2], &fields[1..]].concat();
    let epoch = [&fields[..10], &[0; 8], &fields[18..]].concat();
    for fields in [version, epoch] {
        assert_eq!(FloorToken::read(&secret(), &sign(&fields)), Err(Forged));
    }
    // A code for another purpose is not one for this.
    let code = secret().code(CONNECTION, fields).finalize().into_bytes();
    let other = URL_SAFE_NO_PAD.encode([fields, &code[..CODE]].concat());
    assert_eq!(FloorToken::read(&secret(), &other), Err(Forged));
}

#[test]
fn a_token_ends_at_its_second() {
    let at = |seconds| UNIX_EPOCH + Duration::from_millis(seconds);
    assert!(!token().has_ended(at(1_799_999_999_999)));
    assert!(token().has_ended(at(1_800_000_000_000)));
    assert_eq!(unix_seconds(UNIX_EPOCH - Duration::from_secs(1)), 0);
    assert_eq!(unix_seconds(UNIX_EPOCH + Duration::from_secs(1 << 32)), u32::MAX);
}

#[test]
fn a_gid_is_read_as_it_is_written_and_only_so() {
    let gid = token().gid;
    assert_eq!(gid.to_string().parse(), Ok(gid));
    for bad in ["", "XIco3C3itxr", "XIco3C3itxrzA", "XIco3C3itxr=", "XIco3C3itxr+", "XIco3C3itxé"] {
        assert_eq!(bad.parse::<Gid>(), Err(Forged), "{bad:?}");
    }
}

#[test]
fn nobody_is_no_user() {
    for user in ["", "nobody", "42 ", "\0"] {
        assert_ne!(UserHash::of(Some(user)), UserHash::of(None));
        assert_ne!(UserHash::of(Some(user)), UserHash::of(Some("42")));
    }
}

#[test]
fn only_the_layer_names_connections() {
    for name in ["a", "specific.a1b2!c3d4", &"x".repeat(99)] {
        let channel = ChannelName::new(name).unwrap();
        let id = connection_id(&secret(), &channel);
        assert_eq!(read_connection_id(&secret(), &id), Some(channel));
        assert_eq!(read_connection_id(&Secret::random().unwrap(), &id), None);
        assert_eq!(read_connection_id(&secret(), &format!("b{id}")), None);
        assert_eq!(read_connection_id(&secret(), &format!("{id}0")), None);
        assert_eq!(read_connection_id(&secret(), &id[..id.len() - 1]), None);
        let other = if id.ends_with('0') { "1" } else { "0" };
        assert_eq!(read_connection_id(&secret(), &format!("{}{other}", &id[..id.len() - 1])), None);
        assert_eq!(read_connection_id(&secret(), &id.to_uppercase()), None);
    }
    for bad in ["", "~", "a", "a~", "~0123456789abcdef", "a~0123456789abcdeg", "a~01234567é89abcd"] {
        assert_eq!(read_connection_id(&secret(), bad), None, "{bad:?}");
    }
    assert_eq!(read_connection_id(&secret(), &"a".repeat(1 << 20)), None);
}

#[test]
fn a_secret_is_random_and_not_shown() {
    let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
    assert_ne!(one.bytes(), other.bytes());
    assert_eq!(Secret::from(*one.bytes()).bytes(), one.bytes());
    assert_eq!(format!("{:?}", Secret::from([7; 32])), "Secret(…)");
}
