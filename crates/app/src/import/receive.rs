//! Taking a file in: streamed to disk, looked at, entered.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use florin_ledger::IdempotencyKey;
use florin_store::{
    StoreError,
    import::{self, ImportRow, ImportState, Progress},
    request_answer,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{COMMAND_LINE, Import, ImportError, ImportFolder, ImportFormat, Source, folder::remove};
use crate::{
    App, Caller, Failure,
    port::new_id,
    wallet::{RequestKey, scope_of},
};

/// The resource that an import's idempotency key is scoped to, besides its caller.
const IMPORTS: Uuid = Uuid::from_u128(0x1_4907_2755);
/// Status that is kept beside a key; what is answered is the import as it then stands.
const TAKEN: u16 = 202;

/// A file on its way in. Dropped before the end, it is deleted.
pub struct Receiver {
    id: Uuid,
    folder: ImportFolder,
    draft: PathBuf,
    file: File,
    hasher: Sha256,
    size: u64,
    is_whole: bool,
}

/// What the client says about a file.
#[derive(Debug, Clone)]
pub struct NewImport {
    /// How its rows are written.
    pub format: ImportFormat,
    /// What the client calls it; may be empty.
    pub name: String,
    /// Whether it is taken although the same file was imported before.
    pub again: bool,
    /// The caller's idempotency key.
    pub key: Option<RequestKey>,
}

impl Receiver {
    /// Adds bytes. Blocks.
    ///
    /// # Errors
    /// [`ImportError::TooLarge`], and [`ImportError::Failure`] when they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        self.size += bytes.len() as u64;
        if self.size > self.folder.file_bytes_max {
            return Err(ImportError::TooLarge(self.folder.file_bytes_max));
        }
        self.hasher.update(bytes);
        Ok(self.file.write_all(bytes)?)
    }

    /// The file is whole: flushed, and known to begin as it should.
    fn finish(&mut self, format: ImportFormat) -> Result<[u8; 32], ImportError> {
        drop(Source::open(&self.draft, format)?);
        self.file.sync_all()?;
        std::fs::rename(&self.draft, self.folder.file_of(self.id))?;
        File::open(&self.folder.path)?.sync_all()?;
        self.is_whole = true;
        Ok(std::mem::take(&mut self.hasher).finalize().into())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !self.is_whole
            && let Err(error) = remove(&self.draft)
        {
            tracing::warn!(%error, "a file that was not received whole is left behind until the next start");
        }
    }
}

impl App {
    /// Begins to take a file in. Staff only. Blocks.
    ///
    /// # Errors
    /// [`ImportError::Forbidden`], and [`ImportError::Failure`] when the folder cannot be used.
    pub fn receive_import(&self, caller: &Caller, folder: &ImportFolder) -> Result<Receiver, ImportError> {
        if !caller.is_staff {
            return Err(ImportError::Forbidden);
        }
        folder.prepare()?;
        let id = new_id(&*self.clock, &*self.rng);
        let draft = folder.path.join(format!("{id}.part"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&draft)?;
        Ok(Receiver { id, folder: folder.clone(), draft, file, hasher: Sha256::new(), size: 0, is_whole: false })
    }

    /// Enters a file that was received; `true` with the import that the same key entered before. Blocks.
    ///
    /// # Errors
    /// [`ImportError::BadFile`], [`ImportError::ImportedBefore`], [`ImportError::KeyReused`] and
    /// [`ImportError::Failure`]; then nothing is entered and the file is deleted, unless the database does not say.
    pub fn enter_import(
        &self,
        caller: &Caller,
        mut receiver: Receiver,
        new: NewImport,
    ) -> Result<(Import, bool), ImportError> {
        let sha256 = receiver.finish(new.format)?;
        let path = receiver.folder.file_of(receiver.id);
        let row = self.new_import(receiver.id, caller.user_id, self.settings.writer, &new, sha256, receiver.size);
        let first = self.enter(&row, caller, &new);
        let is_unknown = matches!(first, Err(StoreError::OutcomeUnknown(_)));
        // The second try finds what the first one entered, also when that is still on its way.
        let entered = if is_unknown { self.enter(&row, caller, &new) } else { first };
        let other = match entered {
            Ok(Entered::New) => {
                self.imports_wanted.notify_one();
                return Ok((row.into(), false));
            }
            // It may be entered, and then its file is needed. If it is not, the next start deletes it.
            Err(error) if is_unknown => return Err(Failure::from(error).into()),
            Ok(Entered::Before(earlier)) => Ok((earlier.into(), true)),
            Ok(Entered::SameFile(id)) => Err(ImportError::ImportedBefore(id)),
            Ok(Entered::KeyReused) => Err(ImportError::KeyReused),
            Err(error) => Err(Failure::from(error).into()),
        };
        remove(&path)?;
        other
    }

    fn enter(&self, row: &ImportRow, caller: &Caller, new: &NewImport) -> Result<Entered, StoreError> {
        let key = new.key.as_ref().map(|key| IdempotencyKey {
            scope: scope_of(caller.user_id, IMPORTS),
            resource: IMPORTS,
            key: key.key.clone(),
            fingerprint: fingerprint(new, row.sha256),
        });
        let mut same_file = None;
        let entered = florin_store::write(&*self.engine, |tx| {
            let same = import::lock_by_digest(tx, row.sha256, row.created_at_us)?;
            if import::find_import(tx, row.id)?.is_some() {
                return Ok(Entered::New);
            }
            if let Some(key) = &key
                && let Some(earlier) = request_answer::claim_key(tx, key, row.created_at_us)?
            {
                if earlier.fingerprint != key.fingerprint {
                    return Ok(Entered::KeyReused);
                }
                let id = Uuid::from_slice(&earlier.kept).unwrap_or_default();
                return Ok(import::find_import(tx, id)?.map_or(Entered::KeyReused, Entered::Before));
            }
            same_file = same.filter(|_| !new.again).map(|earlier| earlier.id);
            if same_file.is_some() {
                // Taken back whole: nothing was entered, so the key stays free.
                return Err(StoreError::Duplicate("imports.sha256".to_owned()));
            }
            import::insert_import(tx, row)?;
            if let Some(key) = &key {
                request_answer::set_answer(tx, key, TAKEN, row.id.as_bytes())?;
            }
            Ok(Entered::New)
        });
        match (entered, same_file) {
            (Err(StoreError::Duplicate(_)), Some(id)) => Ok(Entered::SameFile(id)),
            (entered, _) => entered,
        }
    }

    fn new_import(
        &self,
        id: Uuid,
        actor_id: Uuid,
        node: u16,
        new: &NewImport,
        sha256: [u8; 32],
        size: u64,
    ) -> ImportRow {
        let now_us = self.clock.now_us();
        ImportRow {
            id,
            actor_id,
            node,
            name: new.name.clone(),
            format: new.format.as_str().to_owned(),
            sha256,
            size_bytes: i64::try_from(size).unwrap_or(i64::MAX),
            state: ImportState::Running,
            failure: None,
            progress: Progress { position: 0, line: 1, applied: 0, refused: 0 },
            created_at_us: now_us,
            updated_at_us: now_us,
        }
    }

    /// The import that a file of the command line was entered as before: one that goes on, or one that is done unless
    /// more is meant. Blocks.
    ///
    /// # Errors
    /// [`ImportError::Failure`].
    pub fn find_local_import(&self, file: &LocalFile, again: bool) -> Result<Option<Import>, ImportError> {
        let found = florin_store::read(&*self.engine, |tx| import::find_by_digest(tx, file.sha256));
        Ok(found.map_err(Failure::from)?.filter(|earlier| goes_on(earlier, again)).map(Import::from))
    }

    /// Enters a file of the command line, or gives what [`App::find_local_import`] finds. Blocks.
    ///
    /// # Errors
    /// [`ImportError::Failure`].
    pub fn enter_local_import(&self, file: &LocalFile, new: &NewImport) -> Result<Import, ImportError> {
        let id = new_id(&*self.clock, &*self.rng);
        let row = self.new_import(id, Uuid::nil(), COMMAND_LINE, new, file.sha256, file.size);
        let entered = florin_store::write(&*self.engine, |tx| {
            let earlier = import::lock_by_digest(tx, file.sha256, row.created_at_us)?;
            if let Some(earlier) = earlier.filter(|earlier| goes_on(earlier, new.again)) {
                return Ok(earlier);
            }
            import::insert_import(tx, &row)?;
            Ok(row.clone())
        });
        Ok(entered.map_err(Failure::from)?.into())
    }
}

/// A file of the command line, known by its bytes.
#[derive(Debug, Clone, Copy)]
pub struct LocalFile {
    sha256: [u8; 32],
    size: u64,
}

impl LocalFile {
    /// Reads the file once. Blocks.
    ///
    /// # Errors
    /// [`ImportError::BadFile`] when it is none of rows, [`ImportError::Failure`] when it cannot be read.
    pub fn read(path: &Path, format: ImportFormat) -> Result<Self, ImportError> {
        drop(Source::open(path, format)?);
        let (sha256, size) = digest_of(path)?;
        Ok(Self { sha256, size })
    }
}

/// Whether an earlier import of a file stands for it: one that is done does not, if more is meant.
fn goes_on(earlier: &ImportRow, again: bool) -> bool {
    !again || earlier.state == ImportState::Running
}

enum Entered {
    New,
    Before(ImportRow),
    SameFile(Uuid),
    KeyReused,
}

fn fingerprint(new: &NewImport, sha256: [u8; 32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(sha256);
    hasher.update(new.format.as_str());
    hasher.update([u8::from(new.again)]);
    hasher.update(new.name.as_bytes());
    hasher.finalize().into()
}

fn digest_of(path: &Path) -> Result<([u8; 32], u64), ImportError> {
    let (mut file, mut hasher, mut size) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finalize().into(), size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}
