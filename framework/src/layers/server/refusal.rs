//! What it means if a server answers, but refuses.

/// What a server's refusal means for the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) enum ServerRefusal {
    /// The server does nothing for now, or is the wrong one. It counts as away until it takes writes again.
    Away,
    /// The server will refuse this again.
    Final,
    /// The server cannot do this for now, and does other things. It is asked again later.
    Later,
}

impl ServerRefusal {
    /// Reads an error of Redis. `said` starts with its code.
    ///
    /// An error that a script has met may have some words before the code.
    pub(in crate::layers) fn of_redis(said: &str) -> Self {
        let words = said.split_whitespace().take(4).map(|word| word.trim_matches(['-', ':']));
        let known = words.map(|word| match word {
            // A long script runs; a snapshot is loaded, or cannot be saved; too few replicas are connected.
            "BUSY" | "LOADING" | "MISCONF" | "NOREPLICAS" => Self::Away,
            // The server has become a replica. A blocked command ends with `UNBLOCKED` then.
            "MASTERDOWN" | "READONLY" | "UNBLOCKED" => Self::Away,
            "CLUSTERDOWN" => Self::Away,
            // Redis has no memory, but messages can still be taken out, which frees some.
            "OOM" | "TRYAGAIN" => Self::Later,
            _ => Self::Final,
        });
        known.into_iter().find(|known| *known != Self::Final).unwrap_or(Self::Final)
    }
}

#[cfg(test)]
mod tests {
    use super::ServerRefusal;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        for away in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica.",
            "@user_script: 14: -READONLY You can't write against a read only replica.",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOREPLICAS Not enough good replicas to write.",
            "UNBLOCKED force unblock from blocking operation",
        ] {
            assert_eq!(ServerRefusal::of_redis(away), ServerRefusal::Away, "{away}");
        }
        let full = "OOM command not allowed when used memory > 'maxmemory'.";
        assert_eq!(ServerRefusal::of_redis(full), ServerRefusal::Later);
        for stays in ["WRONGTYPE Operation against a key", "NOPERM this user has no permissions", "ERR", ""] {
            assert_eq!(ServerRefusal::of_redis(stays), ServerRefusal::Final, "{stays}");
        }
    }
}
