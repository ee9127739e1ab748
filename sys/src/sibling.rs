//! Children made with clone3(2) that belong to the caller's parent: so a supervisor can start services and die without
//! taking them along, as PID 1 is their parent from the first instruction.

use crate::clone3::{
    CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_VFORK, CLONE_VM,
    CloneArgs, clone_with_stack,
};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::AtomicU32;

/// Where and as whose child the new process starts.
#[derive(Debug, Default)]
pub struct Birth<'a> {
    /// The cgroup directory to start in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The kernel writes the process's id here before the process runs: a place that outlives the caller.
    pub pid_slot: Option<&'a AtomicU32>,
    /// Be a child of the caller's parent instead of the caller's. Not for PID 1.
    pub as_sibling: bool,
}

impl Birth<'_> {
    fn arguments(&self) -> CloneArgs {
        let mut arguments = CloneArgs { flags: CLONE_CLEAR_SIGHAND, ..CloneArgs::default() };
        if self.as_sibling {
            arguments.flags |= CLONE_PARENT;
        } else {
            arguments.exit_signal = libc::SIGCHLD as u64;
        }
        if let Some(directory) = self.cgroup {
            arguments.flags |= CLONE_INTO_CGROUP;
            arguments.cgroup = directory.as_raw_fd() as u64;
        }
        if let Some(slot) = self.pid_slot {
            arguments.flags |= CLONE_PARENT_SETTID;
            arguments.parent_tid = std::ptr::from_ref(slot) as u64;
        }
        arguments
    }
}

/// Starts a process that runs `child` on a copy of the caller's memory and ends with the code that it returns. Returns
/// the process's id. For processes with one thread only: locks that another thread holds stay locked in the child.
pub fn spawn(birth: &Birth<'_>, child: impl FnOnce() -> i32) -> io::Result<u32> {
    let arguments = birth.arguments();
    // SAFETY: the structure is laid out as the kernel has it and outlives the call; without CLONE_VM the child has its own
    // memory and returns here on its own copy of the stack; parent_tid points to a live, aligned 32-bit atomic.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    match result {
        0 => {
            let code = child();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        pid if pid > 0 => Ok(pid as u32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// As [`spawn`], but the child runs in the caller's own memory while the caller stands still until the child has executed
/// its program or ended: nothing is copied, which for a small caller is most of what a start costs. What `child` still
/// owns when it executes is never freed, so it should own nothing then, and it should not wait for anything.
pub fn spawn_in_place(birth: &Birth<'_>, child: &mut dyn FnMut() -> i32) -> io::Result<u32> {
    let mut arguments = birth.arguments();
    arguments.flags |= CLONE_VM | CLONE_VFORK;
    let mut body = Body(child);
    // SAFETY: `run_child` never returns, and casts the pointer back to what it was made of; the caller, of one thread, is
    // stopped meanwhile (CLONE_VFORK), so `body` outlives every use.
    unsafe { clone_with_stack(arguments, STACK, run_child, (&raw mut body).cast()) }
}

/// What a child of [`spawn_in_place`] runs, behind one thin pointer.
struct Body<'a>(&'a mut dyn FnMut() -> i32);

/// The child's stack: what it does before it executes is shallow.
const STACK: usize = 64 << 10;

/// Where the child of [`spawn_in_place`] begins, and ends if it executes nothing.
extern "C" fn run_child(body: *mut libc::c_void) -> ! {
    // SAFETY: `spawn_in_place` passes a pointer to its `Body`, which nobody else uses meanwhile.
    let body = unsafe { &mut *body.cast::<Body<'_>>() };
    let code = (body.0)();
    // SAFETY: ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(code) }
}

/// A program with its arguments and environment, laid out as execve(2) takes them, so that executing allocates nothing.
#[derive(Debug)]
pub struct Execution {
    program: CString,
    arguments: Pointers,
    environment: Pointers,
    numbers: Vec<NumberVariable>,
}

/// A variable whose value is a number that only the child knows: its bytes, where the number begins, and which pointer leads to it.
#[derive(Debug)]
struct NumberVariable {
    bytes: Box<[u8]>,
    start: usize,
    place: usize,
}

/// Strings, and pointers to each with a null at the end.
#[derive(Debug)]
struct Pointers {
    #[expect(dead_code, reason = "owns what the pointers lead to")]
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { strings, pointers }
    }
}

impl Execution {
    /// Lays it out.
    pub fn new(program: CString, arguments: Vec<CString>, environment: Vec<CString>) -> Self {
        Self {
            program,
            arguments: Pointers::new(arguments),
            environment: Pointers::new(environment),
            numbers: Vec::new(),
        }
    }

    /// The program's name.
    pub fn program(&self) -> &CStr {
        &self.program
    }

    /// Makes room for a variable whose value [`Self::fill_numbers`] writes.
    pub fn reserve_number(&mut self, name: &str) {
        let mut bytes = vec![0; name.len() + 1 + "4294967295".len() + 1].into_boxed_slice();
        for (to, from) in bytes.iter_mut().zip(name.bytes().chain([b'='])) {
            *to = from;
        }
        // Before the null.
        let place = self.environment.pointers.len() - 1;
        self.environment.pointers.insert(place, bytes.as_ptr().cast());
        self.numbers.push(NumberVariable { bytes, start: name.len() + 1, place });
    }

    /// Gives every such variable this value; allocates nothing.
    pub fn fill_numbers(&mut self, number: u32) {
        let length = number.checked_ilog10().unwrap_or(0) + 1;
        for variable in &mut self.numbers {
            let digits = variable.bytes.iter_mut().skip(variable.start).zip((0..length).rev());
            for (byte, power) in digits {
                *byte = b'0' + (number / 10_u32.pow(power) % 10) as u8;
            }
            if let Some(pointer) = self.environment.pointers.get_mut(variable.place) {
                *pointer = variable.bytes.as_ptr().cast();
            }
        }
    }

    /// Becomes the program. Returns only why it could not.
    pub fn execute(&self) -> io::Error {
        let (arguments, environment) = (self.arguments.pointers.as_ptr(), self.environment.pointers.as_ptr());
        // SAFETY: both arrays end with a null and point to strings that `self` owns.
        unsafe { libc::execve(self.program.as_ptr(), arguments, environment) };
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_are_numbers() {
        let mut execution = Execution::new(CString::default(), Vec::new(), vec![c"A=1".to_owned()]);
        execution.reserve_number("PID");
        execution.reserve_number("OTHER");
        for number in [7, 10, 4_294_967_295] {
            execution.fill_numbers(number);
            let text: Vec<&CStr> = execution
                .numbers
                .iter()
                .filter_map(|variable| CStr::from_bytes_until_nul(&variable.bytes).ok())
                .collect();
            assert_eq!(
                text.iter().map(|text| text.to_str()).collect::<Vec<_>>(),
                [Ok(format!("PID={number}").as_str()), Ok(format!("OTHER={number}").as_str())]
            );
        }
        assert_eq!(execution.environment.pointers.len(), 4);
        assert!(execution.environment.pointers.last().is_some_and(|pointer| pointer.is_null()));
    }

    fn ended(pid: u32) -> i32 {
        let mut status = 0;
        // SAFETY: waits for a child of this test's own; `status` is a live i32.
        unsafe { libc::waitpid(pid as i32, &raw mut status, libc::__WALL) };
        status
    }

    #[test]
    fn a_child_in_place_ends_with_its_code_and_its_writes_are_seen() {
        let mut seen = Vec::new();
        let pid = spawn_in_place(&Birth::default(), &mut || {
            seen.push(std::process::id());
            7
        })
        .expect("a child");
        assert_eq!(ended(pid), 7 << 8);
        assert_eq!(seen, [pid]);
    }

    #[test]
    fn a_child_in_place_executes_with_arguments_and_environment() {
        let words = |words: &[&str]| words.iter().map(|word| CString::new(*word).expect("no NUL")).collect();
        let script = "test \"$A$1\" = xz && test $B = $$ && exit 3";
        let program = CString::new("/bin/sh").expect("no NUL");
        let mut execution = Execution::new(program, words(&["sh", "-c", script, "0", "z"]), words(&["A=x"]));
        execution.reserve_number("B");
        let mut error = None;
        let pid = spawn_in_place(&Birth::default(), &mut || {
            execution.fill_numbers(std::process::id());
            error = Some(execution.execute());
            1
        })
        .expect("a child");
        assert_eq!(ended(pid), 3 << 8);
        assert!(error.is_none(), "{error:?}");
    }

    #[test]
    fn what_cannot_be_executed_is_told_and_a_bad_cgroup_is_an_error() {
        let execution = Execution::new(CString::new("/nowhere").expect("no NUL"), Vec::new(), Vec::new());
        let mut error = None;
        let pid = spawn_in_place(&Birth::default(), &mut || {
            error = Some(execution.execute());
            5
        })
        .expect("a child");
        assert_eq!(ended(pid), 5 << 8);
        assert_eq!(error.expect("an error").raw_os_error(), Some(libc::ENOENT));
        let file = std::fs::File::open("/proc/self/status").expect("a file");
        let birth = Birth { cgroup: Some(std::os::fd::AsFd::as_fd(&file)), ..Birth::default() };
        assert!(spawn_in_place(&birth, &mut || 0).is_err());
    }
}
