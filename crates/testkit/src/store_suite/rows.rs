//! Statements, parameters and rows.

use florin_store::{
    Engine, Row, StoreError, Tx, Value, read,
    user::{NUMBER, USERNAME, UserRow, find_claim, find_user_by_claim, insert_users, number_claim},
    write,
};
use uuid::Uuid;

const INSERT_COUNTER: &str = "INSERT INTO counters (name, value) VALUES ($1, $2)";

fn insert_counter(tx: &mut dyn Tx, name: &str, value: i64) -> Result<u64, StoreError> {
    tx.execute(INSERT_COUNTER, &[Value::Text(name.to_owned()), Value::Int(value)])
}

fn counters(engine: &dyn Engine) -> Vec<String> {
    let rows = read(engine, |tx| tx.query("SELECT name FROM counters WHERE name LIKE 'test-%' ORDER BY name", &[]));
    rows.unwrap().iter().map(|row| row.get_text(0).unwrap()).collect()
}

/// Every type comes back as it was, at its ends too.
pub fn every_type_comes_back(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let limit = 10_i128.pow(38) - 1;
    // The last moment of the year 9999, and times before 1970 and 2000.
    let times = [0, 1, -1, 946_684_799_999_999, 253_402_300_799_999_999, -62_135_596_800_000_000];
    let minors = [0, 1, -1, 10_000, -10_000, 99_999_999_999, i128::from(i64::MAX) + 1, limit, -limit];
    for (index, minor) in minors.into_iter().enumerate() {
        let id = Uuid::from_u128(u128::MAX - u128::try_from(index).unwrap());
        let at_us = times[index % times.len()];
        write(engine, |tx| insert_account(tx, id, minor, at_us)).unwrap();
        let row = account(engine, id);
        assert_eq!(row.get_uuid(0).unwrap(), id);
        assert_eq!(row.find_uuid(1).unwrap(), None);
        assert_eq!(row.get_minor(2).unwrap(), minor);
        assert_eq!(row.find_minor(3).unwrap(), None);
        assert_eq!(row.get_int(4).unwrap(), i64::MAX);
        assert_eq!(row.get_time(5).unwrap(), at_us);
        assert_eq!(row.find_time(6).unwrap(), None);
    }
    let texts = ["", "it's $1 \"quoted\"", "ação € 🏦", "line\nline\ttab\\"];
    let bytes: Vec<u8> = (0..=255).collect();
    for (index, text) in texts.into_iter().enumerate() {
        let kept = if index == 0 { Vec::new() } else { bytes.clone() };
        write(engine, |tx| insert_key(tx, index, text, &kept)).unwrap();
        let row = key(engine, index);
        assert_eq!(row.get_text(0).unwrap(), text);
        assert_eq!(row.get_bytes(1).unwrap(), kept);
    }
    for truth in [true, false] {
        write(engine, |tx| insert_user(tx, truth)).unwrap();
        let rows = read(engine, |tx| {
            tx.query("SELECT is_staff, number FROM users WHERE is_staff = $1", &[Value::Bool(truth)])
        });
        let rows = rows.unwrap();
        assert_eq!((rows.len(), rows[0].get_bool(0).unwrap()), (1, truth));
        assert_eq!(rows[0].get_int(1).unwrap(), i64::MIN);
    }
}

fn insert_account(tx: &mut dyn Tx, id: Uuid, minor: i128, at_us: i64) -> Result<u64, StoreError> {
    tx.execute(
        "INSERT INTO accounts (bucket, id, kind, owner_id, asset, exponent, normal_side, floor, ceiling, \
         posted_debits, posted_credits, pending_debits, pending_credits, version, created_at, updated_at, closed_at) \
         VALUES (1, $1, 0, $2, 'EUR', 2, 1, $3, $4, $3, $3, $3, $3, $5, $6, $6, $7)",
        &[
            Value::Uuid(id),
            Value::Null,
            Value::Minor(minor),
            Value::Null,
            Value::Int(i64::MAX),
            Value::Time(at_us),
            Value::Null,
        ],
    )
}

fn account(engine: &dyn Engine, id: Uuid) -> Row {
    let rows = read(engine, |tx| {
        tx.query(
            "SELECT id, owner_id, posted_debits, ceiling, version, created_at, closed_at FROM accounts \
             WHERE bucket = $1 AND id = $2",
            &[Value::Int(1), Value::Uuid(id)],
        )
    });
    rows.unwrap().remove(0)
}

fn insert_key(tx: &mut dyn Tx, index: usize, text: &str, bytes: &[u8]) -> Result<u64, StoreError> {
    tx.execute(
        "INSERT INTO signing_keys (id, algorithm, private_key, public_jwk, state, created_at, retire_at) \
         VALUES ($1, 'ES256', $2, $3, 'test', $4, $5)",
        &[
            Value::Text(format!("key-{index}")),
            Value::Bytes(bytes.to_vec()),
            Value::Text(text.to_owned()),
            Value::Time(0),
            Value::Null,
        ],
    )
}

fn key(engine: &dyn Engine, index: usize) -> Row {
    let id = Value::Text(format!("key-{index}"));
    let rows = read(engine, |tx| {
        tx.query("SELECT public_jwk, private_key FROM signing_keys WHERE id = $1", std::slice::from_ref(&id))
    });
    rows.unwrap().remove(0)
}

fn insert_user(tx: &mut dyn Tx, truth: bool) -> Result<u64, StoreError> {
    tx.execute(
        "INSERT INTO users (bucket, id, number, username, email, password_hash, is_active, is_staff, is_superuser, \
         token_version, created_at, updated_at, deleted_at) \
         VALUES (0, $1, $2, 'name', '', '', $3, $3, $3, 0, $4, $4, $5)",
        &[
            Value::Uuid(Uuid::from_u128(u128::from(truth))),
            Value::Int(i64::MIN),
            Value::Bool(truth),
            Value::Time(0),
            Value::Null,
        ],
    )
}

/// The database compares and sorts amounts as numbers, negative ones too.
pub fn amounts_sort_as_numbers(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let limit = 10_i128.pow(38) - 1;
    let mut minors = vec![5, -5, 0, limit, -limit, 10, 9, -10, -9, i128::from(i64::MAX) + 1, 255, 256, -256];
    write(engine, |tx| {
        for (index, minor) in (1_u128..).zip(&minors) {
            insert_account(tx, Uuid::from_u128(index), *minor, 0)?;
        }
        Ok(())
    })
    .unwrap();
    minors.sort_unstable();
    let sorted = |sql: &'static str, params: &[Value]| -> Vec<i128> {
        let rows = read(engine, |tx| tx.query(sql, params)).unwrap();
        rows.iter().map(|row| row.get_minor(0).unwrap()).collect()
    };
    assert_eq!(sorted("SELECT floor FROM accounts ORDER BY floor", &[]), minors);
    let between = sorted(
        "SELECT floor FROM accounts WHERE floor >= $1 AND floor < $2 ORDER BY floor",
        &[Value::Minor(-9), Value::Minor(10)],
    );
    assert_eq!(between, [-9, -5, 0, 5, 9]);
}

/// A unique key that is taken is told apart from every other failure.
pub fn a_taken_key_is_a_duplicate(engine: &dyn Engine) {
    engine.migrate().unwrap();
    write(engine, |tx| insert_counter(tx, "test-a", 1)).unwrap();
    let error = write(engine, |tx| {
        insert_counter(tx, "test-b", 1)?;
        insert_counter(tx, "test-a", 2)
    })
    .unwrap_err();
    assert!(matches!(&error, StoreError::Duplicate(key) if key.contains("counters")), "{error:?}");
    assert_eq!(counters(engine), ["test-a"], "nothing of the refused transaction stays");
    let error = write(engine, |tx| tx.execute(INSERT_COUNTER, &[Value::Text("test-c".into()), Value::Null]));
    assert!(matches!(error, Err(StoreError::Internal(_))), "a missing value is a defect, not a duplicate");
    write(engine, |tx| insert_counter(tx, "test-b", 1)).unwrap();
}

/// Many rows at once are as single ones: they come back, and one of them that is refused refuses all.
pub fn many_rows_come_back(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let users: Vec<UserRow> = (1..=3_000).map(user).collect();
    write(engine, |tx| insert_users(tx, &users)).unwrap();
    for user in users.iter().step_by(700) {
        let (name, number) = (user.username.as_str(), number_claim(user.number));
        assert!(read(engine, |tx| find_user_by_claim(tx, USERNAME, name)).unwrap().as_ref() == Some(user));
        assert_eq!(read(engine, |tx| find_claim(tx, NUMBER, &number)).unwrap(), Some(user.id));
    }
    let counter = |name: &str, value: Value| vec![Value::Text(name.to_owned()), value];
    let insert = |rows: &[Vec<Value>]| write(engine, |tx| tx.insert_rows("counters", "name, value", rows));
    let twice =
        insert(&[counter("test-a", Value::Int(1)), counter("test-b", Value::Int(1)), counter("test-a", Value::Int(1))]);
    assert!(matches!(&twice, Err(StoreError::Duplicate(key)) if key.contains("counters")), "{twice:?}");
    for row in
        [vec![Value::Text("test-c".to_owned())], [counter("test-c", Value::Int(1)), vec![Value::Int(1)]].concat()]
    {
        let error = insert(&[counter("test-b", Value::Int(1)), row]);
        assert!(matches!(error, Err(StoreError::Internal(_))), "{error:?}");
    }
    assert!(counters(engine).is_empty());
    insert(&[]).unwrap();
    insert(&[counter("test-d", Value::Int(i64::MIN))]).unwrap();
    assert_eq!(counters(engine), ["test-d"]);
}

fn user(number: i64) -> UserRow {
    let id = Uuid::from_u128(u128::try_from(number).unwrap() << 64);
    UserRow {
        id,
        number,
        username: format!("ação-{number}"),
        email: String::new(),
        password_hash: "!".to_owned(),
        is_active: number % 2 == 0,
        is_staff: false,
        is_superuser: true,
        token_version: 7,
        created_at_us: -number,
        deleted_at_us: None,
    }
}

/// Work that fails for a reason of its own is rolled back.
pub fn work_that_fails_leaves_nothing(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let error = write(engine, |tx| -> Result<(), StoreError> {
        insert_counter(tx, "test-a", 1)?;
        Err(StoreError::Inconsistent("reason of its own".to_owned()))
    })
    .unwrap_err();
    assert!(matches!(error, StoreError::Inconsistent(_)), "{error:?}");
    assert!(counters(engine).is_empty());
}

/// After a failed statement a transaction is lost, on every engine, even when its work says that all is well.
pub fn a_failed_statement_cannot_be_committed_around(engine: &dyn Engine) {
    engine.migrate().unwrap();
    let result = write(engine, |tx| {
        insert_counter(tx, "test-a", 1)?;
        assert!(insert_counter(tx, "test-a", 2).is_err());
        Ok(())
    });
    assert!(matches!(result, Err(StoreError::Internal(_))), "{result:?}");
    assert!(counters(engine).is_empty());
}

/// A read cannot change anything.
pub fn a_read_cannot_write(engine: &dyn Engine) {
    engine.migrate().unwrap();
    read(engine, |tx| insert_counter(tx, "test-a", 1)).unwrap_err();
    assert!(counters(engine).is_empty());
}

/// A forgotten parameter is an error, not NULL.
pub fn a_wrong_number_of_parameters_is_an_error(engine: &dyn Engine) {
    engine.migrate().unwrap();
    for params in [vec![Value::Text("test-a".into())], vec![Value::Text("test-a".into()), Value::Int(1), Value::Int(2)]]
    {
        let result = write(engine, |tx| tx.execute(INSERT_COUNTER, &params));
        assert!(matches!(result, Err(StoreError::Internal(_))), "{result:?}");
    }
    write(engine, |tx| insert_counter(tx, "test-a", 1)).unwrap();
    assert_eq!(counters(engine), ["test-a"]);
}
