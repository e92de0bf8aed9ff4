//! Lends the view of a call to a guest instance, for the time of the call.
//!
//! wasmtime's store must own what its host functions see (`T: 'static`), but a view borrows the tree. So the store gets
//! a pointer. The pointer is present only while `lend` runs, within the borrow that the pointer was made from. The
//! pointer is removed even if the call unwinds. This makes the unsafe code below sound.

use crate::pipeline::Call;
use std::ptr::NonNull;

/// The place in a store for a lent call.
///
/// Invariant: empty unless the instance of the store answers a call.
#[derive(Default)]
pub(crate) struct Lent(Option<NonNull<Call<'static>>>);

// SAFETY: the pointer is `Some` only while `lend` runs, on the thread that runs `lend`. During that time `lend` holds
// the only reference to the store (`&mut S`). At all other times there is nothing to send or share.
unsafe impl Send for Lent {}
unsafe impl Sync for Lent {}

impl Lent {
    /// The lent call. None outside a call, for example in `configure`. The result cannot outlive the borrow of the
    /// store.
    pub(crate) fn get(&self) -> Option<&Call<'_>> {
        // SAFETY: `lend` made the pointer from a reference that lives until `lend` has cleared the pointer. `self` is
        // reachable only through the store that `lend` borrows. Shortening the lifetime inside is sound, because `Call`
        // holds only shared references.
        self.0.map(|call| unsafe { shorten(call.as_ref()) })
    }
}

fn shorten<'short>(call: &'short Call<'static>) -> &'short Call<'short> {
    call
}

/// Runs `run` while `call` is lent to the place that `place` finds in `store`.
pub(crate) fn lend<S, R>(
    store: &mut S,
    place: fn(&mut S) -> &mut Lent,
    call: &Call<'_>,
    run: impl FnOnce(&mut S) -> R,
) -> R {
    struct Return<'s, S> {
        store: &'s mut S,
        place: fn(&mut S) -> &mut Lent,
    }
    impl<S> Drop for Return<'_, S> {
        fn drop(&mut self) {
            (self.place)(self.store).0 = None;
        }
    }
    // The cast drops the lifetime, and `Lent::get` restores it. A cast between pointers is safe code.
    let pointer: NonNull<Call<'_>> = NonNull::from(call);
    let forever: NonNull<Call<'static>> = pointer.cast();
    let lending = Return { store, place };
    let before = place(lending.store).0.replace(forever);
    assert!(before.is_none(), "an instance answers one call at a time");
    run(lending.store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Zxid;
    use crate::pipeline::{Moment, NoView};

    #[test]
    fn nothing_is_left_behind_even_by_a_panic() {
        let view = NoView;
        let moment = Moment { wall_ms: 0, ensemble_ms: 0, seed: 0 };
        let call = Call::looking(&view, None, 7, Zxid::ZERO, moment);
        let mut place = Lent::default();
        assert_eq!(lend(&mut place, |lent| lent, &call, |lent| lent.get().map(|call| call.xid)), Some(7));
        assert!(place.get().is_none());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lend(&mut place, |lent| lent, &call, |_| panic!("within the call"));
        }));
        assert!(panicked.is_err() && place.get().is_none());
    }
}
