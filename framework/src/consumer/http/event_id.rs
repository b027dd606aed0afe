//! The `id` of a server-sent event, and the `Last-Event-ID` with which an `EventSource` comes back.
//!
//! An id has one part for each group of the consumer that keeps its events, with commas between them. A part is a
//! [floor token](FloorToken) whose floor is the place itself, so that the client can come back to this place and to none
//! before it; the tag of the place; and the mark of the newest event that is in no log, if there was one:
//! `<token>.<tag>[.<mark>]`.

use std::{str::FromStr as _, time::SystemTime};

use crate::{
    GroupName,
    groups::history::{
        log::Log,
        lost::LostReason,
        position::{Epoch, Position, Tag},
        since::EventId,
        token::{FloorToken, Gid, Secret, TOKEN_LIFE, UserHash, unix_seconds},
    },
};

/// The longest id that is read.
const LONGEST: usize = 8 << 10;

/// Writes the part of one group.
pub(super) fn write(
    secret: &Secret,
    log: &Log,
    place: Position,
    foreign: f64,
    user: Option<&str>,
    now: SystemTime,
) -> String {
    let token = FloorToken {
        gid: Gid::of(&log.group),
        epoch: place.epoch,
        floor: place.offset,
        user: UserHash::of(user),
        expires: unix_seconds(now + TOKEN_LIFE),
    };
    let mut id = token.sign(secret);
    id.push('.');
    id.push_str(&place.tag.to_string());
    if foreign != 0.0 {
        id.push_str(&format!(".{:016x}", foreign.to_bits()));
    }
    id
}

/// Reads what an id says of a group, whose log has this epoch.
pub(super) fn read(
    secret: Option<&Secret>,
    id: &str,
    group: &GroupName,
    epoch: Option<Epoch>,
    user: Option<&str>,
    now: SystemTime,
) -> EventId {
    let forged = EventId(Err(LostReason::Forged));
    let (Some(secret), 0..=LONGEST) = (secret, id.len()) else { return forged };
    let gid = Gid::of(group);
    let mut lost = forged;
    for part in id.split(',') {
        let mut fields = part.trim().split('.');
        let (Some(token), Some(tag), mark, None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (Ok(token), Ok(tag)) = (FloorToken::read(secret, token), Tag::from_str(tag)) else {
            // After a crash of the process the secret is another one, and so is the log.
            if FloorToken::unproven(token).is_some_and(|(named, of)| named == gid && epoch != Some(of)) {
                lost = EventId(Err(LostReason::Epoch));
            }
            continue;
        };
        if token.gid != gid || token.user != UserHash::of(user) {
            continue;
        }
        if token.has_ended(now) {
            return EventId(Err(LostReason::Expired));
        }
        let foreign = match mark {
            None => 0,
            Some(mark) => match u64::from_str_radix(mark, 16) {
                Ok(mark) => mark,
                Err(_) => return forged,
            },
        };
        return EventId(Ok((Position { epoch: token.epoch, offset: token.floor, tag }, foreign)));
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::history::policy::History;

    #[test]
    fn an_id_is_read_by_its_own_user_in_its_own_group_and_time() {
        let secret = Secret::random().unwrap();
        let group = |name: &str| GroupName::new(name).unwrap();
        let place = Position { epoch: Epoch::fresh(), offset: 7, tag: Tag::fresh() };
        let now = SystemTime::now();
        let log = |name| Log::of_test(group(name), History::last(5), place);
        let room = write(&secret, &log("room"), place, 0.0, Some("ann"), now);
        let hall = write(&secret, &log("hall"), place, 2.5, Some("ann"), now);
        assert!(room.len() == 74 && !room.contains(|sign: char| sign.is_control() || sign == ' '), "{room}");
        let both = format!("{room},{hall}");
        let epoch = Some(place.epoch);
        let read =
            |id: &str, name, user, now| super::read(Some(&secret), id, &group(name), epoch, user, now).0;
        assert_eq!(read(&both, "room", Some("ann"), now), Ok((place, 0)));
        assert_eq!(read(&both, "hall", Some("ann"), now), Ok((place, 2.5f64.to_bits())));
        let forged = Err(LostReason::Forged);
        assert_eq!(read(&both, "other", Some("ann"), now), forged);
        assert_eq!(read(&both, "room", Some("bob"), now), forged);
        assert_eq!(read(&both, "room", None, now), forged);
        assert_eq!(read(&room, "room", Some("ann"), now + TOKEN_LIFE), Err(LostReason::Expired));
        for at in 0..room.len() - 7 {
            let mut damaged = room.clone();
            let other = if &room[at..=at] == "A" { "B" } else { "A" };
            damaged.replace_range(at..=at, other);
            // If only the epoch is damaged, the log seems to be another one. In no case the place is taken.
            assert!(
                matches!(
                    read(&damaged, "room", Some("ann"), now),
                    Err(LostReason::Forged | LostReason::Epoch)
                ),
                "{at}"
            );
        }
        for bad in
            ["", ".", ",", "x", "42", &room[1..], &room[..73], &format!("{room}.xyz"), &"é,".repeat(9_000)]
        {
            assert_eq!(read(bad, "room", Some("ann"), now), forged, "{bad}");
        }
        let other = Secret::random().unwrap();
        let elsewhere = |epoch| super::read(Some(&other), &room, &group("room"), epoch, Some("ann"), now).0;
        assert_eq!((elsewhere(epoch), elsewhere(None)), (forged, Err(LostReason::Epoch)));
    }
}
