//! Room for the bodies of batches: it is taken as they arrive, and one caller never has all of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
};
use parking_lot::Mutex;
use uuid::Uuid;

use super::BODY_MAX;
use crate::{
    problem::Problem,
    request_body::{Pieces, next_piece, refuse_declared},
};

/// Bytes of bodies that are in memory at once: 32 of the largest. Who finds no room is told to come again.
const ROOM: usize = 32 * BODY_MAX;
/// Bytes of them that are one caller's.
const SHARE: usize = ROOM / 4;
/// How long a body that has begun may stand still. Its bytes hold room that others want.
pub(super) const STANDSTILL: Duration = Duration::from_secs(5);

/// The room, and who has how much of it.
#[derive(Default)]
pub(crate) struct Room(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    all: usize,
    by_caller: HashMap<Uuid, usize>,
}

/// What one body has of the room; it is given back with this value.
pub(super) struct Place {
    room: Arc<Room>,
    caller_id: Uuid,
    bytes: usize,
}

impl Place {
    /// An empty one.
    pub(super) fn new(room: &Arc<Room>, caller_id: Uuid) -> Self {
        Self { room: Arc::clone(room), caller_id, bytes: 0 }
    }

    /// Reads a body into it.
    pub(super) async fn read(&mut self, mut body: Body, standstill: Duration) -> Result<Bytes, Problem> {
        refuse_declared(&body, BODY_MAX)?;
        let mut pieces = Pieces::default();
        // What has not begun holds nothing and may take its time.
        let mut next = next_piece(&mut body).await?;
        while let Some(piece) = next {
            self.take(piece.len()).ok_or_else(Problem::busy)?;
            pieces.add(piece, BODY_MAX)?;
            next = tokio::time::timeout(standstill, next_piece(&mut body))
                .await
                .map_err(|_| stands_still(standstill))??;
        }
        Ok(pieces.whole())
    }

    /// So many bytes more, if there is room for them.
    fn take(&mut self, bytes: usize) -> Option<()> {
        let mut taken = self.room.0.lock();
        let all = taken.all + bytes;
        let own = taken.by_caller.get(&self.caller_id).map_or(bytes, |own| own + bytes);
        if all > ROOM || own > SHARE {
            return None;
        }
        taken.all = all;
        taken.by_caller.insert(self.caller_id, own);
        self.bytes += bytes;
        Some(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.0.lock();
        taken.all -= self.bytes;
        if let Some(own) = taken.by_caller.get_mut(&self.caller_id) {
            *own -= self.bytes;
            if *own == 0 {
                taken.by_caller.remove(&self.caller_id);
            }
        }
    }
}

fn stands_still(standstill: Duration) -> Problem {
    let detail = format!(
        "Nothing more of the body came for {} s. Nothing was applied; send the whole request again.",
        standstill.as_secs_f64()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "Request body too slow", detail)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn place(room: &Arc<Room>, caller: u128) -> Place {
        Place::new(room, Uuid::from_u128(caller))
    }

    #[test]
    fn room_is_for_all_and_a_quarter_of_it_for_one() {
        let room = Arc::new(Room::default());
        let full: Vec<Place> = (0..4)
            .map(|caller| {
                let mut whole = place(&room, caller);
                assert_eq!(whole.take(SHARE), Some(()));
                assert_eq!((whole.take(0), whole.take(1), place(&room, caller).take(1)), (Some(()), None, None));
                whole
            })
            .collect();
        assert_eq!((ROOM, place(&room, 9).take(1)), (4 * SHARE, None));
        drop(full);
        assert_eq!(place(&room, 9).take(SHARE), Some(()));
        let taken = room.0.lock();
        assert_eq!((taken.all, taken.by_caller.len()), (0, 0), "all was given back");
    }

    #[tokio::test]
    async fn a_body_that_has_begun_may_not_stand_still() {
        let room = Arc::new(Room::default());
        let begun = stream::iter([Ok::<_, std::io::Error>("{")]).chain(stream::pending());
        let refused = place(&room, 1).read(Body::from_stream(begun), Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(refused.into_response().status(), StatusCode::REQUEST_TIMEOUT);
        let moving = stream::iter(["{", "", "}"].map(Ok::<_, std::io::Error>));
        let whole = place(&room, 1).read(Body::from_stream(moving), STANDSTILL).await.unwrap();
        assert_eq!(whole, "{}");
        assert_eq!(room.0.lock().all, 0);
    }
}
