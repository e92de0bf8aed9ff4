//! What four letter words tell of this member.

use super::Replica;
use crate::session::FourLetter;
use std::net::SocketAddr;
use std::sync::Arc;

pub struct Words {
    replica: Arc<Replica>,
}

impl Words {
    pub fn new(replica: Arc<Replica>) -> Words {
        Words { replica }
    }
}

impl FourLetter for Words {
    fn argument_bytes(&self, word: [u8; 4]) -> Option<usize> {
        (word == *b"ruok").then_some(0)
    }

    fn answer(&self, _word: [u8; 4], _argument: &[u8], _peer: SocketAddr) -> Vec<u8> {
        let _ = &self.replica;
        b"imok".to_vec()
    }
}
