//! Fixed values, published shapes and sensitivity of the hashes.
//!
//! The fixed values were computed by an independent program from the description of the form: a change here breaks
//! every chain that is already stored.

use std::fmt::Write;

use super::*;
use crate::{AccountId, Balance, IdempotencyKey, Leg, Side};

fn hex(hash: &[u8]) -> String {
    hash.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn id(byte: u8) -> Uuid {
    Uuid::from_bytes([byte; 16])
}

fn posted(account: u8, side: Side, version: i64, posted_minor: i128) -> PostedLeg {
    PostedLeg {
        leg: Leg { account_id: AccountId(id(account)), side, amount_minor: 1050 },
        version,
        balance: Balance { posted_minor, pending_minor: 0, available_minor: posted_minor },
    }
}

fn legs() -> Vec<PostedLeg> {
    vec![posted(3, Side::Debit, 1, 1050), posted(4, Side::Credit, 9, -3)]
}

fn record(legs: &[PostedLeg]) -> TransactionRecord<'_> {
    TransactionRecord {
        transaction_id: TransactionId(id(1)),
        kind: Kind::Deposit,
        asset: Asset::find_iso("EUR").unwrap(),
        actor_id: id(2),
        reason: Some("rent"),
        idempotency_key: None,
        effective_at_us: 5,
        recorded_at_us: 7,
        legs,
    }
}

fn header() -> BatchHeader {
    BatchHeader {
        form: HashForm::V1,
        writer: 3,
        number: 4,
        previous_hash: GENESIS_HASH,
        merkle_root: [9; 32],
        transactions: 2,
        recorded_at_us: 11,
    }
}

#[test]
fn a_transaction_hashes_to_its_fixed_value() {
    let legs = legs();
    for (form, hash) in [
        (HashForm::V1, "212bc1a3d6e6fe6303e58a173c9a9057da83154a57c44e6f5dd350132b49b18d"),
        (HashForm::V2, "9851163cc2ebd675aabc60f6a14b12310275f7bceb8e9a21f97a8f96d2cfb81c"),
    ] {
        assert_eq!(hex(&transaction_hash(&record(&legs), form)), hash, "{form:?}");
    }
}

#[test]
fn a_header_hashes_to_its_fixed_value() {
    for (form, hash) in [
        (HashForm::V1, "e3436ee6af55c8f96052336f4e942e722fecd4d5a021f37e4d42615fde52e19f"),
        (HashForm::V2, "99ca8882b25c172211167461756b5784660826abe4a3280c7922db7bcfd89d93"),
    ] {
        assert_eq!(hex(&BatchHeader { form, ..header() }.hash()), hash, "{form:?}");
    }
}

#[test]
fn every_field_of_a_transaction_counts() {
    let legs = legs();
    let base = record(&legs);
    let forms = [HashForm::V1, HashForm::V2];
    let mut hashes: Vec<Hash> = forms.map(|form| transaction_hash(&base, form)).to_vec();
    let mut also = |record: TransactionRecord<'_>| hashes.extend(forms.map(|form| transaction_hash(&record, form)));
    also(TransactionRecord { transaction_id: TransactionId(id(9)), ..base });
    also(TransactionRecord { kind: Kind::Adjustment, ..base });
    also(TransactionRecord { asset: Asset::find_iso("USD").unwrap(), ..base });
    also(TransactionRecord { asset: Asset::new("EUR", 3).unwrap(), ..base });
    also(TransactionRecord { actor_id: id(9), ..base });
    also(TransactionRecord { reason: Some("rant"), ..base });
    also(TransactionRecord { reason: Some(""), ..base });
    also(TransactionRecord { reason: None, ..base });
    also(TransactionRecord { idempotency_key: Some(""), ..base });
    // A text moved from one field to the next is another record.
    also(TransactionRecord { reason: None, idempotency_key: Some("rent"), ..base });
    also(TransactionRecord { effective_at_us: 6, ..base });
    also(TransactionRecord { recorded_at_us: 8, ..base });
    also(TransactionRecord { legs: &[], ..base });
    also(TransactionRecord { legs: &legs[..1], ..base });
    also(TransactionRecord { legs: &[legs[1], legs[0]], ..base });
    for change in [
        |posted: &mut PostedLeg| posted.leg.account_id = AccountId(id(9)),
        |posted: &mut PostedLeg| posted.leg.side = Side::Credit,
        |posted: &mut PostedLeg| posted.leg.amount_minor = 1051,
        |posted: &mut PostedLeg| posted.version = 2,
        |posted: &mut PostedLeg| posted.balance.posted_minor = 1051,
        |posted: &mut PostedLeg| posted.balance.pending_minor = 1,
    ] {
        let mut changed = legs.clone();
        change(&mut changed[0]);
        also(TransactionRecord { legs: &changed, ..base });
    }
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn every_field_of_a_header_counts() {
    let mut hashes = vec![
        header().hash(),
        BatchHeader { form: HashForm::V2, ..header() }.hash(),
        BatchHeader { writer: 4, ..header() }.hash(),
        BatchHeader { number: 5, ..header() }.hash(),
        BatchHeader { previous_hash: [1; 32], ..header() }.hash(),
        BatchHeader { merkle_root: [1; 32], ..header() }.hash(),
        BatchHeader { transactions: 3, ..header() }.hash(),
        BatchHeader { recorded_at_us: 12, ..header() }.hash(),
    ];
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 8);
}

#[test]
fn a_commands_record_is_what_storage_gives_back() {
    let legs = legs();
    let mut command = Command {
        transaction_id: TransactionId(id(1)),
        kind: Kind::Deposit,
        asset: Asset::find_iso("EUR").unwrap(),
        legs: legs.iter().map(|posted| posted.leg).collect(),
        actor_id: id(2),
        reason: Some("rent".to_owned()),
        effective_at_us: Some(5),
        idempotency: None,
        owners: Vec::new(),
    };
    assert_eq!(TransactionRecord::of_command(&command, 7, &legs), record(&legs));
    // Without a time of its own it happened when it was recorded.
    command.effective_at_us = None;
    assert_eq!(TransactionRecord::of_command(&command, 7, &legs).effective_at_us, 7);
    let key = IdempotencyKey { scope: id(8), resource: id(9), key: "k".to_owned(), fingerprint: [0; 32] };
    command.idempotency = Some(key);
    assert_eq!(TransactionRecord::of_command(&command, 7, &legs).idempotency_key, Some("k"));
}

fn entries(count: u8) -> Vec<Hash> {
    (0..count).map(|n| Sha256::digest([n]).into()).collect()
}

#[test]
fn merkle_roots_are_those_of_rfc_9162() {
    let table = [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "d9de27625445003d8a9739a851e3ff8d41c0683630b4d63a88327a6aaa37c409"),
        (2, "604d540f09268b91672ab011394d5266ccd7d4484d0d109411a55848126a1b2c"),
        (3, "d1f13800048f5909d4043fc0c152f6643280cba608b672715e56ce159a20629f"),
        (5, "6b313b611b40676b9e1dfd70c4503f2379f88f0f1c2740fb7e1cacc32c113465"),
        (7, "bee2275db16667589a4515f63e0d053a2fa602c1d9f9703e98920a5bdad59baf"),
        (8, "80e139b44c90f91edebec705cc7586c3d90f4bdadd49628d25c20d4b03419287"),
        (200, "db8fc79f1d9d86512c53eadad1580c0e7ab23ffd751298f7abf357435d85275b"),
    ];
    for (count, root) in table {
        let entries = entries(count);
        assert_eq!(hex(&merkle_root(&entries, HashForm::V1)), root, "{count} entries");
        let leaves: Vec<Hash> = entries.iter().map(|entry| hash_of_two(0, entry, &[])).collect();
        assert_eq!(hex(&merkle_root(&leaves, HashForm::V2)), root, "{count} leaves");
    }
}

/// The RFC's own words: split at the largest power of two below the count.
fn merkle_root_by_the_book(entries: &[Hash]) -> Hash {
    match entries {
        [] => Sha256::digest(b"").into(),
        [entry] => hash_of_two(0, entry, &[]),
        _ => {
            let (left, right) = entries.split_at(entries.len().next_power_of_two() / 2);
            hash_of_two(1, &merkle_root_by_the_book(left), &merkle_root_by_the_book(right))
        }
    }
}

#[test]
fn every_count_gives_the_tree_of_the_rfc() {
    // The larger ones are shared between threads.
    for count in (0..=70).chain([511, 512, 513, 767, 768, 1000, 1024, 1025, 2500]) {
        let entries: Vec<Hash> = (0..count).map(|n: u32| Sha256::digest(n.to_be_bytes()).into()).collect();
        let root = merkle_root_by_the_book(&entries);
        assert_eq!(merkle_root(&entries, HashForm::V1), root, "{count} entries");
        let leaves: Vec<Hash> = entries.iter().map(|entry| hash_of_two(0, entry, &[])).collect();
        assert_eq!(merkle_root(&leaves, HashForm::V2), root, "{count} leaves");
    }
}

#[test]
fn transactions_in_the_second_form_are_the_entries_of_the_tree() {
    let legs = legs();
    let hashes = [5, 6, 7]
        .map(|effective_at_us| transaction_hash(&TransactionRecord { effective_at_us, ..record(&legs) }, HashForm::V2));
    let root = "60b81b7bf6426feeacbe0fd487e8fd9508b8e91b40fae8e9d13b0d4987b4b291";
    assert_eq!(hex(&merkle_root(&hashes, HashForm::V2)), root);
}

#[test]
fn order_matters_and_a_root_is_no_entry() {
    let entries = entries(3);
    let mut swapped = entries.clone();
    swapped.swap(0, 1);
    for form in [HashForm::V1, HashForm::V2] {
        assert_ne!(merkle_root(&entries, form), merkle_root(&swapped, form));
        assert_ne!(merkle_root(&entries, form), merkle_root(&[merkle_root(&entries, form)], HashForm::V1));
    }
    assert_ne!(merkle_root(&entries[..1], HashForm::V1), entries[0]);
    // A leaf of the second form begins with another byte than what is above it.
    let mut form = CanonicalForm::default();
    form.set_transaction(&record(&legs()), HashForm::V2);
    assert_eq!(form.bytes()[0], 0);
}
