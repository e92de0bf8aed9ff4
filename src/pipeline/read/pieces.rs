//! Long lists of names. They are read piece by piece, and the state's lock is released between the pieces.

use super::get_children::Filter;
use super::{Reader, counts, required};
use crate::limits::LISTED_AT_ONCE;
use crate::model::{ErrorCode, Stat};
use crate::state::listing::{Children, Ephemerals, Piece};
use crate::wire::encode::NamesReply;
use crate::wire::request::Request;

/// A list that is being read.
pub(crate) struct Pieces {
    list: List,
    reply: NamesReply,
}

enum List {
    Children(Children),
    Ephemerals(Ephemerals),
}

/// How far a list has been read.
pub(crate) enum Progress {
    /// The list is not at its end.
    More(Pieces),
    /// The whole list, and the node's Stat if the reply has it. It is valid as long as the state's lock is held.
    Whole(NamesReply, Option<Stat>),
}

/// Begins to read a list in pieces. None: the request asks for no list, or for one that is short enough to be read at
/// once.
pub(crate) fn begin(reader: Reader<'_>, request: &Request) -> Option<Pieces> {
    let list = match request {
        Request::GetChildren { path: Some(path), .. }
        | Request::GetChildren2 { path: Some(path), .. }
        | Request::FilteredList { path: Some(path), .. } => {
            if reader.state.node(path)?.child_count() <= LISTED_AT_ONCE {
                return None;
            }
            List::Children(Children::of(reader.readable(path).ok()?))
        }
        Request::GetEphemerals { prefix } if reader.state.ephemerals_of(reader.session) > LISTED_AT_ONCE => {
            let prefix = counts::wanted_prefix(prefix.as_deref());
            List::Ephemerals(Ephemerals::of(reader.state, reader.session, prefix))
        }
        _ => return None,
    };
    Some(Pieces { list, reply: NamesReply::new() })
}

/// Reads the next piece. `request`: the one with which the list was begun.
pub(crate) fn go_on(reader: Reader<'_>, request: &Request, mut pieces: Pieces) -> Result<Progress, ErrorCode> {
    let reply = &mut pieces.reply;
    let (piece, stat) = match (&mut pieces.list, request) {
        (List::Ephemerals(list), _) => (list.go_on(reader.state, |path| reply.push(path)), None),
        (List::Children(list), Request::GetChildren { path, .. }) => {
            let node = reader.readable(required(path)?)?;
            (list.go_on(node, |name, _| reply.push(name)), None)
        }
        (List::Children(list), Request::GetChildren2 { path, .. }) => {
            let node = reader.readable(required(path)?)?;
            (list.go_on(node, |name, _| reply.push(name)), Some(node.stat()))
        }
        (List::Children(list), Request::FilteredList { path, filter, .. }) => {
            let filter = Filter::from_wire(*filter)?;
            let node = reader.readable(required(path)?)?;
            let piece = list.go_on(node, |name, owner| {
                if filter.wants(owner) {
                    reply.push(name);
                }
            });
            (piece, Some(node.stat()))
        }
        _ => return Err(ErrorCode::MarshallingError),
    };
    Ok(match piece {
        Piece::Last => Progress::Whole(pieces.reply, stat),
        Piece::More => Progress::More(pieces),
        Piece::Changed => {
            pieces.reply = NamesReply::new();
            Progress::More(pieces)
        }
    })
}
