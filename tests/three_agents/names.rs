//! The numbers under which the kernel knows files, and the paths that they have now: libfuse 2's table of nodes.

use std::collections::BTreeMap;

/// The number of the root directory (FUSE_ROOT_ID).
const ROOT: u64 = 1;

/// The files of one mount that the kernel asked for.
#[derive(Debug)]
pub(crate) struct Names {
    numbers: BTreeMap<String, u64>,
    files: BTreeMap<u64, File>,
    next: u64,
}

#[derive(Debug, Default)]
struct File {
    path: String,
    /// How often it is open on this node.
    open: u32,
}

impl Default for Names {
    fn default() -> Self {
        let root = File::default();
        Self {
            numbers: BTreeMap::from([(String::new(), ROOT)]),
            files: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
        }
    }
}

impl Names {
    /// The number of what is at `path`.
    pub(crate) fn number(&mut self, path: &str) -> u64 {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(path.to_owned(), number);
        let file = File {
            path: path.to_owned(),
            open: 0,
        };
        self.files.insert(number, file);
        number
    }

    /// The path of what has this number.
    pub(crate) fn path(&self, number: u64) -> Option<&str> {
        self.files.get(&number).map(|file| file.path.as_str())
    }

    /// The path of `name` in the directory of this number.
    pub(crate) fn below(&self, directory: u64, name: &str) -> Option<String> {
        Some(match self.path(directory)? {
            "" => name.to_owned(),
            directory => format!("{directory}/{name}"),
        })
    }

    /// Whether a process of this node has the file at `path` open.
    pub(crate) fn is_open(&self, path: &str) -> bool {
        let number = self.numbers.get(path);
        number.is_some_and(|number| self.files.get(number).is_some_and(|file| file.open > 0))
    }

    /// One more process has it open.
    pub(crate) fn opened(&mut self, number: u64) {
        if let Some(file) = self.files.get_mut(&number) {
            file.open += 1;
        }
    }

    /// One process less; whether it was the last.
    pub(crate) fn closed(&mut self, number: u64) -> bool {
        let Some(file) = self.files.get_mut(&number) else {
            return false;
        };
        file.open = file.open.saturating_sub(1);
        file.open == 0
    }

    /// What was at `from` is at `to` now, in place of what was there.
    pub(crate) fn moved(&mut self, from: &str, to: &str) {
        self.gone(to);
        if let Some(number) = self.numbers.remove(from) {
            self.numbers.insert(to.to_owned(), number);
            if let Some(file) = self.files.get_mut(&number) {
                to.clone_into(&mut file.path);
            }
        }
    }

    /// Nothing is at `path` any more: what comes there next is another file.
    pub(crate) fn gone(&mut self, path: &str) {
        if let Some(number) = self.numbers.remove(path) {
            self.files.remove(&number);
        }
    }
}
