//! The ledger in a file that one process writes.
//!
//! A batch is one row ([`journal`]): its header and a compact body with every transaction and posting ([`record`]).
//! That row is all the commit has to write; what it changes is gathered before ([`staged`]). Balances are kept in
//! [`memory`], where the writer finds them and readers look; their rows, and the index of idempotency keys
//! ([`key_index`]), follow in large sorted steps ([`settle`]). Until they have, whoever reads the rows adds the batches
//! behind them ([`tail`]), so every reader of any process sees every commit. An account's history is a chain: each
//! posting knows the place of the one before ([`history`]).

pub(crate) mod batch;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod key_filter;
pub(crate) mod key_index;
pub(crate) mod key_run;
pub(crate) mod memory;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod settle;
pub(crate) mod staged;
pub(crate) mod tail;
pub(crate) mod view;

use std::collections::{HashMap, HashSet};

use florin_ledger::KeyDigest;
use foldhash::fast::FixedState;

/// By key. Nobody can choose digests that collide in it.
pub(crate) type KeyMap<V> = HashMap<KeyDigest, V, FixedState>;

/// As [`KeyMap`].
pub(crate) type KeySet = HashSet<KeyDigest, FixedState>;
