//! Files on the disk: an ext4 file system with a journal (the crate `rsext4`), for documents that are to outlast the machine.
//!
//! A file appears whole or not at all: it is written under another name, made to last, and then renamed. The file system is mounted when it is
//! first needed, which replays its journal, and never unmounted: after each change it is synced, so that a machine may be
//! switched off at any time.
//!
//! Honest limits: the crate checks what it reads, but a disk that was damaged on purpose may make it panic, and the kernel with it.

use crate::drivers::rtc;
use crate::drivers::virtio::block::{self, BlockError, Disk, SECTOR};
use crate::sync::IrqMutex;
use crate::tasks::WaitQueue;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use rsext4::{
    BlockIo, Clock, DeviceCapabilities, DeviceGeometry, DirectoryEntryType, Ext4, Ext4Error, Ext4ErrorKind,
    Ext4Result, Ext4Timestamp, FileName, FilePermissions, InodeNumber, MountOptions, MountServices,
    MountedServices, MutationContext, NoopObserver, RenameOptions, SectorId, UnlinkOutcome,
};

/// Longest file that is read or written.
const MOST: usize = 16 << 20;
/// Deepest path.
const MOST_NAMES: usize = 16;
/// Root's files, which all may read.
const OWNER: MutationContext = MutationContext::new(0, 0, 0, 0);
const FILE_RIGHTS: u16 = 0o644;
const FOLDER_RIGHTS: u16 = 0o755;

/// Why a file was not written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// None in this machine.
    #[error(
        "this machine has no disk; make one by `cargo xtask disk PATH` and start with `cargo xtask run --disk PATH`"
    )]
    NoDisk,
    /// Not from the root, too deep, or with a name that files cannot have.
    #[error("a path is like /audit/file.json: from the root, of at most {MOST_NAMES} names")]
    Path,
    /// Too many bytes.
    #[error("the file has {0} bytes, and at most {MOST} are possible")]
    TooLong(u64),
    /// The file system's own refusal.
    #[error("{0}")]
    FileSystem(#[from] Ext4Error),
}

type Volume = Ext4<Sectors, MountedServices<(), NoopObserver>>;

/// The mounted file system is here when nobody uses it.
enum Slot {
    NotMounted,
    InUse,
    Mounted(alloc::boxed::Box<Volume>),
}

static SLOT: IrqMutex<Slot> = IrqMutex::new(Slot::NotMounted);
static RETURNED: WaitQueue = WaitQueue::new();

/// Writes a file in place of the one that has this path, if there is one; folders on the way are made. In a thread that can wait.
pub fn write_file(path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    if bytes.len() > MOST {
        return Err(DiskError::TooLong(bytes.len() as u64));
    }
    let (folders, name) = split(path)?;
    with_volume(|volume| {
        let folder = folders
            .iter()
            .try_fold(volume.root_inode(), |folder, name| make_folder(volume, folder, *name))?;
        let other = format!(".{}.new", String::from_utf8_lossy(name.as_bytes()));
        let other = FileName::new(other.as_bytes())?;
        // What an earlier attempt left.
        if volume.lookup_child(folder, other)?.is_some() {
            let gone = volume.unlink(folder, other)?;
            reap(volume, gone)?;
        }
        let file = volume.create_regular_file(OWNER, folder, other, FilePermissions::new(FILE_RIGHTS)?)?;
        volume.write_inode(file.number, 0, bytes)?;
        volume.sync()?;
        let outcome = volume.rename(folder, other, folder, name, RenameOptions::REPLACE)?;
        if let Some(gone) = outcome.replaced {
            reap(volume, gone)?;
        }
        volume.sync()
    })
}

/// Reads a whole file. In a thread that can wait.
pub fn read_file(path: &str) -> Result<Vec<u8>, DiskError> {
    let (folders, name) = split(path)?;
    let mut size = 0;
    let bytes = with_volume(|volume| {
        let mut folder = volume.root_inode();
        for name in &folders {
            folder = volume.lookup_child(folder, *name)?.ok_or_else(not_found)?.number;
        }
        let file = volume.lookup_child(folder, name)?.ok_or_else(not_found)?;
        if file.file_type() != DirectoryEntryType::RegularFile {
            return Err(Ext4Error::new(Ext4ErrorKind::IsDirectory));
        }
        size = file.size;
        let mut bytes = Vec::new();
        let Some(wanted) = usize::try_from(size).ok().filter(|&wanted| wanted <= MOST) else {
            return Ok(None);
        };
        bytes.try_reserve_exact(wanted).map_err(|_| Ext4Error::new(Ext4ErrorKind::NoMemory))?;
        bytes.resize(wanted, 0);
        let read = volume.read_inode(file.number, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    })?;
    bytes.ok_or(DiskError::TooLong(size))
}

fn not_found() -> Ext4Error {
    Ext4Error::new(Ext4ErrorKind::NotFound)
}

/// The folders of a path, and the last name.
fn split(path: &str) -> Result<(heapless::Vec<FileName<'_>, MOST_NAMES>, FileName<'_>), DiskError> {
    let names = path.strip_prefix('/').ok_or(DiskError::Path)?.split('/');
    let names = names.map(|name| FileName::new(name.as_bytes()).ok().filter(|name| !name.is_reserved()));
    let mut folders = heapless::Vec::new();
    for name in names {
        folders.push(name.ok_or(DiskError::Path)?).map_err(|_| DiskError::Path)?;
    }
    let name = folders.pop().ok_or(DiskError::Path)?;
    Ok((folders, name))
}

/// The folder of that name in another one, made if there is none.
fn make_folder(volume: &mut Volume, parent: InodeNumber, name: FileName<'_>) -> Ext4Result<InodeNumber> {
    let found = match volume.lookup_child(parent, name)? {
        Some(found) => found,
        None => volume.create_directory(OWNER, parent, name, FilePermissions::new(FOLDER_RIGHTS)?)?,
    };
    found.is_directory().then_some(found.number).ok_or(Ext4Error::new(Ext4ErrorKind::NotDirectory))
}

/// Gives the blocks of a file back that has lost its last name.
fn reap(volume: &mut Volume, gone: UnlinkOutcome) -> Ext4Result<()> {
    if gone.requires_reap() { volume.reap_unlinked_inode(gone.inode) } else { Ok(()) }
}

/// Runs `act` on the file system, mounted if it was not; others wait meanwhile. After an error of the file system itself it is
/// mounted anew the next time, which replays what its journal holds.
fn with_volume<R>(act: impl FnOnce(&mut Volume) -> Ext4Result<R>) -> Result<R, DiskError> {
    let disk = block::disk().ok_or(DiskError::NoDisk)?;
    let mut slot = Slot::InUse;
    RETURNED.wait_until(|| {
        slot = core::mem::replace(&mut *SLOT.lock(), Slot::InUse);
        !matches!(slot, Slot::InUse)
    });
    let mounted = match slot {
        Slot::Mounted(volume) => Ok(volume),
        _ => mount(disk),
    };
    let (result, slot) = match mounted {
        Ok(mut volume) => match act(&mut volume) {
            Err(error) if !is_refusal(error.kind()) => (Err(error), Slot::NotMounted),
            result => (result, Slot::Mounted(volume)),
        },
        Err(error) => (Err(error), Slot::NotMounted),
    };
    *SLOT.lock() = slot;
    RETURNED.wake_all();
    Ok(result?)
}

fn mount(disk: &'static Disk) -> Ext4Result<alloc::boxed::Box<Volume>> {
    let options = MountOptions { readonly: disk.is_read_only(), ..MountOptions::read_write() };
    let services = MountServices::new(WallClock, (), NoopObserver);
    let volume = alloc::boxed::Box::new(Ext4::mount(Sectors(disk), services, options)?);
    log::info!("disk: mounted the ext4 file system");
    Ok(volume)
}

/// Errors that say something of the request, and nothing of the file system's state.
fn is_refusal(kind: Ext4ErrorKind) -> bool {
    use Ext4ErrorKind as Kind;
    matches!(
        kind,
        Kind::NotFound | Kind::NotDirectory | Kind::IsDirectory | Kind::InvalidInput | Kind::ReadOnly
    )
}

/// The disk as the file system wants it.
struct Sectors(&'static Disk);

fn io(_: BlockError) -> Ext4Error {
    Ext4Error::new(Ext4ErrorKind::Io)
}

impl BlockIo for Sectors {
    fn write(&mut self, bytes: &[u8], sector: SectorId, _: u32) -> Ext4Result<()> {
        self.0.write(sector.raw(), bytes).map_err(io)
    }

    fn read(&mut self, out: &mut [u8], sector: SectorId, _: u32) -> Ext4Result<()> {
        self.0.read(sector.raw(), out).map_err(io)
    }

    fn geometry(&self) -> DeviceGeometry {
        DeviceGeometry::new(SECTOR as u32, self.0.sectors())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        DeviceCapabilities { read_only: self.0.is_read_only(), flush: true, ..DeviceCapabilities::default() }
    }

    fn flush(&mut self) -> Ext4Result<()> {
        self.0.flush().map_err(io)
    }
}

/// Times of files.
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        // A machine without a clock writes files of 1970.
        Ok(rtc::unix_seconds().map_or(Ext4Timestamp::UNIX_EPOCH, |seconds| Ext4Timestamp::new(seconds, 0)))
    }
}
