//! Whose a new file is: what root makes in the folder of a service must be the service's to open.

use std::{io, path::Path};

/// Gives `file` the owner and the group of `model`, if they differ.
///
/// # Errors
/// One of them cannot be looked at, or this process may not give files away and the owner differs.
#[cfg(unix)]
pub(crate) fn take_over(file: &Path, model: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, lchown};

    // Nothing is given away through a link that the folder's owner may have laid.
    let (own, wanted) = (std::fs::symlink_metadata(file)?, std::fs::metadata(model)?);
    if (own.uid(), own.gid()) == (wanted.uid(), wanted.gid()) {
        return Ok(());
    }
    match lchown(file, Some(wanted.uid()), Some(wanted.gid())) {
        // Only the owner reads these files: their group opens nothing.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && own.uid() == wanted.uid() => Ok(()),
        given => given,
    }
}

/// Other systems have no owners of this kind.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(crate) fn take_over(_file: &Path, _model: &Path) -> io::Result<()> {
    Ok(())
}
