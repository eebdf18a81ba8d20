//! Migrations: applied once, by one node at a time, and refused when they are not ours.

use std::thread;

use florin_store::{Engine, EngineStatus, StoreError, Value, migrations::MIGRATIONS, read, write};

/// Every migration is applied once; another run finds nothing to do.
pub fn migrating_again_is_harmless(engine: &dyn Engine) {
    let names: Vec<_> = MIGRATIONS.iter().map(|migration| migration.name).collect();
    assert_eq!(engine.status().unwrap(), EngineStatus { applied: 0, pending: names.clone() });
    assert_eq!(engine.migrate().unwrap(), names);
    assert_eq!(engine.migrate().unwrap(), Vec::<&str>::new());
    let newest = florin_store::migrations::newest();
    assert_eq!(engine.status().unwrap(), EngineStatus { applied: newest, pending: Vec::new() });
}

/// Two nodes that start together apply every migration once, between them.
pub fn two_nodes_migrate_at_once(engine: &dyn Engine) {
    let mut names: Vec<_> = thread::scope(|scope| {
        let nodes: Vec<_> = (0..2).map(|_| scope.spawn(|| engine.migrate().unwrap())).collect();
        nodes.into_iter().flat_map(|node| node.join().unwrap()).collect()
    });
    names.sort_unstable();
    assert_eq!(names, MIGRATIONS.iter().map(|migration| migration.name).collect::<Vec<_>>());
    let rows = read(engine, |tx| tx.query("SELECT count(*) FROM schema_migrations", &[])).unwrap();
    assert_eq!(rows[0].get_int(0).unwrap(), i64::try_from(MIGRATIONS.len()).unwrap());
}

/// An old binary does not touch the database of a newer one, and says which is which.
pub fn a_newer_schema_is_refused(engine: &dyn Engine) {
    engine.migrate().unwrap();
    write(engine, |tx| {
        tx.execute(
            "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
            &[Value::Int(99), Value::Text("0099_future".into()), Value::Text("0".into()), Value::Time(0)],
        )
    })
    .unwrap();
    for error in [engine.status().unwrap_err(), engine.migrate().unwrap_err()] {
        assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");
        assert!(error.to_string().contains("written by a newer Florin (schema 99"), "{error}");
    }
}

/// A migration whose text was edited after it had been applied is found, and named.
pub fn a_changed_migration_is_named(engine: &dyn Engine) {
    engine.migrate().unwrap();
    write(engine, |tx| {
        tx.execute("UPDATE schema_migrations SET checksum = $1 WHERE number = 2", &[Value::Text("edited".into())])
    })
    .unwrap();
    let error = engine.migrate().unwrap_err();
    assert!(error.to_string().contains(MIGRATIONS[1].name), "{error}");
}
