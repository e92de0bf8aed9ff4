//! How many connections this server has, and who may still come in.
//!
//! The bounds are `maxCnxns` for all connections and `maxClientCnxns` for those of one client address.

use crate::config;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;

/// Counts connections from their acceptance to the end of their task.
pub(in crate::session) struct Admissions {
    /// 0: no bound.
    all_max: usize,
    /// 0: no bound.
    per_address_max: usize,
    /// A thread that holds this lock takes no other.
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Invariant: the sum of `by_address`.
    all: usize,
    /// Invariant: no count is 0, so the table has at most `all` entries.
    by_address: HashMap<IpAddr, usize>,
}

/// The right to one connection. Dropping it gives the right back.
pub(in crate::session) struct Admission {
    admissions: Arc<Admissions>,
    /// In canonical form: an IPv4 address is never written as IPv6.
    address: IpAddr,
}

impl Admissions {
    pub(crate) fn new(network: &config::Network) -> Arc<Admissions> {
        Arc::new(Admissions {
            all_max: network.connections_max,
            per_address_max: network.connections_per_address_max,
            counts: Mutex::default(),
        })
    }

    /// Lets a client in. The error names the bound that is reached.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admission, &'static str> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        let refusal = if self.all_max > 0 && counts.all >= self.all_max {
            Some("maxCnxns is reached")
        } else if self.per_address_max > 0 && of_address >= self.per_address_max {
            Some("maxClientCnxns is reached for this address")
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        counts.all += 1;
        *counts.by_address.entry(address).or_insert(0) += 1;
        counts.check();
        Ok(Admission { admissions: self.clone(), address })
    }
}

impl Counts {
    fn check(&self) {
        assert!(self.by_address.len() <= self.all, "an address is kept only while it has connections");
        assert_eq!(self.by_address.is_empty(), self.all == 0, "every connection is counted for its address");
        #[cfg(debug_assertions)]
        {
            assert!(self.by_address.values().all(|&count| count > 0), "an address without connections is forgotten");
            assert_eq!(self.by_address.values().sum::<usize>(), self.all, "all connections are those of all addresses");
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.admissions.counts.lock();
        let of_address = counts.by_address.get_mut(&self.address).expect("an admitted address is counted");
        *of_address -= 1;
        let is_last = *of_address == 0;
        if is_last {
            counts.by_address.remove(&self.address);
        }
        assert!(counts.all > 0, "an admission is given back once");
        counts.all -= 1;
        counts.check();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn dropping_an_admission_makes_room_for_another() {
        let bounds =
            config::Network { connections_per_address_max: 2, connections_max: 3, ..config::Config::default().network };
        let admissions = Admissions::new(&bounds);
        let address = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let first = admissions.admit(address(1)).ok().unwrap();
        let _second = admissions.admit(address(1)).ok().unwrap();
        assert!(admissions.admit(address(1)).is_err());
        let _third = admissions.admit(address(2)).ok().unwrap();
        assert!(admissions.admit(address(3)).is_err());
        drop(first);
        assert!(admissions.admit(address(1)).is_ok());
    }
}
