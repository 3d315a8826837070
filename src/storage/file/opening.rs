//! Opens files: O_DIRECT where it can be had, the alignment it demands, and a sentence for every
//! file system where it cannot be had or means nothing.

use super::root::{Root, errno_of};
use super::table::OpenFile;
use crate::storage::align::{PAGE_BYTES, round_up};
use crate::storage::filesystem::{is_memory, magic_of, name_of};
use crate::storage::{OpenMode, StorageError, SyncKind};
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What the kernel says of an open file.
pub(in crate::storage) struct FileFacts {
    pub size: u64,
    pub device: (u32, u32),
    /// Memory and offset alignment of direct I/O; None where the file system does not say.
    pub dio: Option<(u32, u32)>,
    pub regular: bool,
}

/// One `statx` for size, device and STATX_DIOALIGN.
pub(in crate::storage) fn file_facts(fd: i32) -> Result<FileFacts, i32> {
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    let mask = libc::STATX_TYPE | libc::STATX_SIZE | libc::STATX_DIOALIGN;
    // SAFETY: the path is an empty C string, `stat` is valid for writes, and AT_EMPTY_PATH makes
    // the call about `fd` itself.
    let status =
        unsafe { libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, mask, stat.as_mut_ptr()) };
    if status != 0 {
        return Err(errno_of(&io::Error::last_os_error()));
    }
    // SAFETY: zeroed at first and filled by the call; every field is an integer.
    let stat = unsafe { stat.assume_init() };
    let told = stat.stx_mask & libc::STATX_DIOALIGN != 0;
    Ok(FileFacts {
        size: stat.stx_size,
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        dio: told.then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align)),
        regular: u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFREG,
    })
}

/// How files are opened, and what turned out along the way.
pub(super) struct Opener {
    root: Root,
    want_direct: bool,
    reserve: bool,
    /// How new files become durable.
    pub sync: SyncKind,
    /// Sentences on what could not be had, each once.
    pub fallbacks: Vec<String>,
    /// File system of each device seen: (device, name, is memory).
    devices: Vec<((u32, u32), String, bool)>,
    /// O_DIRECT held for all files so far.
    pub direct: Option<bool>,
    /// Alignment of the last file opened.
    pub align: u32,
}

impl Opener {
    /// For files under `root`; `reserve`: the space of a new file is allocated first.
    pub fn new(root: Root, want_direct: bool, reserve: bool) -> Opener {
        let align = if want_direct { PAGE_BYTES as u32 } else { 1 };
        let (fallbacks, devices) = (Vec::new(), Vec::new());
        let sync = SyncKind::default();
        Opener { root, want_direct, reserve, sync, fallbacks, devices, direct: None, align }
    }

    /// Opens `path`.
    pub fn open(&mut self, path: &Path, mode: OpenMode) -> Result<OpenFile, StorageError> {
        let (op, created) = match mode {
            OpenMode::Read { .. } => ("open", false),
            OpenMode::Create { .. } | OpenMode::Replace { .. } => ("create", true),
        };
        let fail = |e: io::Error| StorageError::system(op, path, None, errno_of(&e));
        let each_write = created && self.sync == SyncKind::EachWrite;
        let flags = if each_write { libc::O_DSYNC } else { 0 };
        let (file, accepted) = match open_at(path, created, self.want_direct, flags) {
            Err(e) if created && e.kind() == io::ErrorKind::NotFound => {
                self.root.make_parents(path)?;
                open_at(path, created, self.want_direct, flags)
            }
            other => other,
        }
        .map_err(fail)?;
        let opened = self.examine(path, file, accepted, created);
        let opened = opened.and_then(|mut file| {
            if let OpenMode::Create { final_bytes } = mode {
                file.expected_bytes = final_bytes;
                self.reserve_space(&mut file, final_bytes)?;
            }
            Ok(file)
        });
        match opened {
            Ok(file) => {
                self.direct = Some(self.direct.unwrap_or(true) && file.direct);
                self.align = file.align;
                Ok(file)
            }
            Err(errno) => {
                if created {
                    // A file that could not be set up is of no use; the first error is what counts.
                    let _ = std::fs::remove_file(path);
                }
                Err(StorageError::system(op, path, None, errno))
            }
        }
    }

    /// Decides whether direct I/O is in force.
    fn examine(
        &mut self,
        path: &Path,
        file: File,
        accepted: bool,
        created: bool,
    ) -> Result<OpenFile, i32> {
        let facts = file_facts(file.as_raw_fd())?;
        if !facts.regular {
            return Err(if path.is_dir() { libc::EISDIR } else { libc::EINVAL });
        }
        let mut direct = false;
        if self.want_direct {
            let objection = self.objection(path, &file, accepted, &facts)?;
            direct = objection.is_none();
            if let Some(sentence) = objection {
                self.note(sentence);
                if accepted {
                    clear_direct(&file)?;
                }
            }
        }
        let align = facts.dio.map_or(PAGE_BYTES as u32, |(_, offset)| offset);
        Ok(OpenFile {
            fd: OwnedFd::from(file),
            path: path.to_path_buf(),
            size: if created { 0 } else { facts.size },
            expected_bytes: facts.size,
            direct,
            align: if direct { align } else { 1 },
            created,
            data_only: self.sync != SyncKind::Full,
            true_len: 0,
            physical_len: 0,
            in_flight: 0,
            writes_in_flight: 0,
            registered: false,
        })
    }

    /// Why O_DIRECT is not in force on this file; None if it is.
    fn objection(
        &mut self,
        path: &Path,
        file: &File,
        accepted: bool,
        facts: &FileFacts,
    ) -> Result<Option<String>, i32> {
        let (name, memory) = self.filesystem(file, facts.device)?;
        let at = path.parent().unwrap_or(path).display();
        let cached = "reading through the page cache";
        if !accepted {
            return Ok(Some(format!("O_DIRECT refused by {name} at {at}: {cached}")));
        }
        if memory {
            return Ok(Some(format!(
                "{name} at {at} is memory: O_DIRECT means nothing there, {cached}"
            )));
        }
        let page = PAGE_BYTES as u32;
        Ok(match facts.dio {
            Some((_, 0)) => {
                Some(format!("{name} at {at} does not do direct I/O on this file: {cached}"))
            }
            Some((memory, offset)) if memory > page || offset > page => Some(format!(
                "{name} at {at} demands alignment {offset} (memory {memory}), more than 4096: \
                 {cached}"
            )),
            _ => None,
        })
    }

    /// Name of the file system, and whether it is memory; asked once for each device.
    fn filesystem(&mut self, file: &File, device: (u32, u32)) -> Result<(String, bool), i32> {
        if let Some((_, name, memory)) = self.devices.iter().find(|(d, _, _)| *d == device) {
            return Ok((name.clone(), *memory));
        }
        let magic = magic_of(&nix::sys::statfs::fstatfs(file).map_err(|e| e as i32)?);
        self.devices.push((device, name_of(magic), is_memory(magic)));
        Ok((name_of(magic), is_memory(magic)))
    }

    /// Allocates the space of a new file: a full disk shows at once, and writes inside the file's
    /// length do not have to wait for one another as extending ones do.
    fn reserve_space(&mut self, file: &mut OpenFile, final_bytes: u64) -> Result<(), i32> {
        if !self.reserve || final_bytes == 0 {
            return Ok(());
        }
        let unit = if file.direct { PAGE_BYTES as u64 } else { 1 };
        let bytes = round_up(final_bytes, unit);
        loop {
            return match fallocate(&file.fd, FallocateFlags::empty(), 0, bytes as i64) {
                Ok(()) => {
                    file.physical_len = bytes;
                    Ok(())
                }
                Err(nix::errno::Errno::EINTR) => continue,
                Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => {
                    let at = file.path.parent().unwrap_or(&file.path).display();
                    self.note(format!("space is not reserved: no fallocate at {at}"));
                    Ok(())
                }
                Err(e) => Err(e as i32),
            };
        }
    }

    fn note(&mut self, sentence: String) {
        // Many folders may say the same; a handful is enough for a reader.
        if self.fallbacks.len() < 16 && !self.fallbacks.contains(&sentence) {
            self.fallbacks.push(sentence);
        }
    }
}

/// Opens, with O_DIRECT first where wanted; says whether O_DIRECT was accepted.
fn open_at(path: &Path, created: bool, direct: bool, more: i32) -> io::Result<(File, bool)> {
    let attempt = |flags: i32, exclusive: bool| {
        let mut options = OpenOptions::new();
        options.read(!created).write(created).custom_flags(flags | more);
        if created {
            options.create_new(exclusive).create(true);
        }
        options.open(path)
    };
    if !direct {
        return attempt(0, true).map(|file| (file, false));
    }
    match attempt(libc::O_DIRECT, true) {
        // The kernel looks at O_DIRECT after it made the file, so the second try may find it;
        // a file that was there before gave EEXIST at the first.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            attempt(0, false).map(|file| (file, false))
        }
        other => other.map(|file| (file, true)),
    }
}

/// Takes O_DIRECT off an open file.
fn clear_direct(file: &File) -> Result<(), i32> {
    let flags = fcntl(file, FcntlArg::F_GETFL).map_err(|e| e as i32)?;
    let flags = OFlag::from_bits_retain(flags) & !OFlag::O_DIRECT;
    fcntl(file, FcntlArg::F_SETFL(flags)).map(|_| ()).map_err(|e| e as i32)
}
