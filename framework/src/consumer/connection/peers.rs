//! How many connections each client address has.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many connections of one mount each address has, if their number is limited.
///
/// It never has more entries than there are connections.
#[derive(Debug)]
pub(crate) struct Peers {
    limit: usize,
    /// The lock is held for one look-up, and for nothing else.
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Peers {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, counts: Mutex::default() })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection. Returns `None` if its peer has reached the limit.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<PeerGuard> {
        let peer = host_of(peer);
        let mut counts = self.counts();
        let count = counts.get(&peer).copied().unwrap_or(0);
        if count >= self.limit {
            return None;
        }
        counts.insert(peer, count + 1);
        Some(PeerGuard { peers: Arc::clone(self), peer })
    }
}

/// Counts as one connection of its peer until it is dropped.
#[derive(Debug)]
pub(crate) struct PeerGuard {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Drop for PeerGuard {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.peers.counts().entry(self.peer) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the first 64 bits of an IPv6 address.
///
/// One host has all IPv6 addresses with the same first 64 bits.
fn host_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_count_which_vanishes_at_zero() {
        let peers = Peers::new(2);
        let enter = |address: &str| peers.enter(address.parse().unwrap());
        let first = enter("10.0.0.1").unwrap();
        let second = enter("::ffff:10.0.0.1").expect("the same host, its second");
        assert!(enter("10.0.0.1").is_none());
        let other = enter("10.0.0.2").unwrap();
        drop(first);
        let third = enter("10.0.0.1").unwrap();
        assert!(enter("10.0.0.1").is_none());
        drop((second, third, other));
        assert!(peers.counts().is_empty());
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        let peers = Peers::new(1);
        let enter = |address: &str| peers.enter(address.parse().unwrap());
        let _one = enter("2001:db8:0:1::1").unwrap();
        assert!(enter("2001:db8:0:1:ffff::2").is_none());
        assert!(enter("2001:db8:0:2::1").is_some());
    }
}
