//! System V's shared memory, semaphores and message queues: removing them (shmctl(2), semctl(2), msgctl(2), IPC_RMID).

use std::io;

/// Removes one by its kind (`shm`, `sem` or `msg`) and number.
pub fn remove(kind: &str, id: i32) -> io::Result<()> {
    let result = match kind {
        // SAFETY: IPC_RMID uses no buffer.
        "shm" => unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) },
        // SAFETY: IPC_RMID uses no further argument.
        "sem" => unsafe { libc::semctl(id, 0, libc::IPC_RMID) },
        // SAFETY: IPC_RMID uses no buffer.
        _ => unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) },
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
