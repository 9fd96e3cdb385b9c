//! Greenlets: coroutines that switch to each other by name, in any direction.
//!
//! A generator can only go back to whoever called it. A greenlet names the one that runs next and
//! hands it a value. Each has a parent: when it ends, its result goes there, and so does an error
//! that it did not handle. Rules and names are those of Python's greenlet package.
//!
//! corosensei's coroutines are generators too; a trampoline makes greenlets of them. To switch, a
//! greenlet leaves a letter and drops back onto the trampoline, and the trampoline delivers it.

pub mod aside;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::thread;

use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::generators::{Misuse, Raised};
use crate::scheduler::PooledStack;

/// The greenlet that the program starts in: the root of the tree.
pub const MAIN: &str = "main";

/// What a switch carries: a value, or an error to be raised over there.
type Carried<V> = Result<V, Raised>;

/// Whom it is for, and what it carries.
type Letter<V> = (&'static str, Carried<V>);

type Stack<V> = Coroutine<Carried<V>, Letter<V>, Carried<V>, PooledStack>;

/// The greenlet that runs, in a tree of greenlets that hand each other values of type `V`.
///
/// Main's own ends the others when it is dropped: their stacks are unwound.
pub struct Greenlet<'a, V> {
    name: &'static str,
    tree: Rc<Tree<V>>,
    /// None in main: that is where the trampoline stands.
    yielder: Option<&'a Yielder<Carried<V>, Letter<V>>>,
}

struct Tree<V> {
    nodes: RefCell<Vec<Node<V>>>,
    running: Cell<&'static str>,
}

struct Node<V> {
    name: &'static str,
    parent: &'static str,
    /// None in main, while it runs, and when it is dead.
    stack: Option<Stack<V>>,
}

impl<V: Default + 'static> Greenlet<'_, V> {
    /// Makes the running program the root of a new tree.
    pub fn main() -> Greenlet<'static, V> {
        let main = Node { name: MAIN, parent: MAIN, stack: None };
        let nodes = RefCell::new(vec![main]);
        let tree = Tree { nodes, running: Cell::new(MAIN) };
        Greenlet { name: MAIN, tree: Rc::new(tree), yielder: None }
    }

    /// A greenlet whose parent is this one. It starts with the first value switched to it.
    /// (`greenlet(run, parent)`)
    ///
    /// # Errors
    ///
    /// The name is taken, or the kernel has no stack left.
    pub fn greenlet<F>(&self, name: &'static str, body: F) -> Result<(), Raised>
    where
        F: FnOnce(&Greenlet<V>, V) -> Result<V, Raised> + 'static,
    {
        if self.tree.find(name).is_some() {
            return Err(Misnamed(name, "is there already").into());
        }
        let tree = self.tree.clone();
        let stack =
            Coroutine::with_stack(PooledStack::new()?, move |yielder, first: Carried<V>| {
                // What is thrown into one that has not started is raised before its first line.
                body(&Greenlet { name, tree, yielder: Some(yielder) }, first?)
            });
        let node = Node { name, parent: self.name, stack: Some(stack) };
        self.tree.nodes.borrow_mut().push(node);
        Ok(())
    }

    /// Stops here, hands `value` to the greenlet of that name, and returns what is handed back
    /// when somebody switches here. Instead of a dead one its parent gets the value.
    ///
    /// # Errors
    ///
    /// Nobody has that name; or what is thrown here, or raised by a child and not handled.
    pub fn switch(&self, to: &'static str, value: V) -> Result<V, Raised> {
        self.send((to, Ok(value)))
    }

    /// Stops here and raises `error` in the greenlet of that name, where it switched away.
    /// A [`GreenletExit`] kills it quietly.
    ///
    /// # Errors
    ///
    /// As [`switch`](Greenlet::switch).
    pub fn throw(&self, to: &'static str, error: impl Into<Raised>) -> Result<V, Raised> {
        self.send((to, Err(error.into())))
    }

    /// Who runs. (`getcurrent`)
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// It has ended. (`greenlet.dead`)
    pub fn dead(&self, name: &str) -> bool {
        self.tree.find(name).is_some_and(|node| self.tree.is_dead(node))
    }

    /// Where its result goes. (`greenlet.parent`)
    pub fn parent(&self, name: &str) -> Option<&'static str> {
        let node = self.tree.find(name)?;
        Some(self.tree.nodes.borrow()[node].parent).filter(|_| name != MAIN)
    }

    /// Gives a greenlet another parent.
    ///
    /// # Errors
    ///
    /// Nobody has one of the names; or a greenlet would become its own ancestor.
    pub fn set_parent(&self, name: &'static str, parent: &'static str) -> Result<(), Raised> {
        let unknown = |name| Misnamed(name, "is nobody's name");
        let node = self.tree.find(name).ok_or_else(|| unknown(name))?;
        self.tree.find(parent).ok_or_else(|| unknown(parent))?;
        let mut ancestor = Some(parent);
        while let Some(above) = ancestor {
            if above == name {
                return Err(Misnamed(name, "would be its own ancestor").into());
            }
            ancestor = self.parent(above);
        }
        self.tree.nodes.borrow_mut()[node].parent = parent;
        Ok(())
    }

    fn send(&self, letter: Letter<V>) -> Result<V, Raised> {
        if thread::panicking() {
            return Err(Misuse("a greenlet that is being unwound cannot switch").into());
        }
        match self.yielder {
            Some(yielder) => yielder.suspend(letter),
            None => self.tree.trampoline(letter),
        }
    }
}

impl<V> Drop for Greenlet<'_, V> {
    fn drop(&mut self) {
        if self.yielder.is_some() {
            return;
        }
        // Those that are suspended hold on to the tree, and the tree holds on to them.
        let next = || self.tree.nodes.borrow_mut().iter_mut().find_map(|node| node.stack.take());
        while let Some(stack) = next() {
            drop(stack);
        }
    }
}

impl<V: Default + 'static> Tree<V> {
    /// Delivers the letter, and then the one that comes back, until one is for main.
    fn trampoline(&self, mut letter: Letter<V>) -> Result<V, Raised> {
        self.running.set(MAIN); // also after a panic that came through here
        loop {
            let (name, carried) = letter;
            let Some(node) = self.find(name) else {
                let sender = self.running.get();
                letter = (sender, Err(Misnamed(name, "is nobody's name").into()));
                continue;
            };
            if name == MAIN {
                self.running.set(MAIN);
                return carried;
            }
            let stack = self.nodes.borrow_mut()[node].stack.take();
            let Some(mut stack) = stack else {
                letter = (self.nodes.borrow()[node].parent, last_words(carried));
                continue;
            };
            self.running.set(name);
            letter = match stack.resume(carried) {
                CoroutineResult::Yield(letter) => {
                    self.nodes.borrow_mut()[node].stack = Some(stack);
                    letter
                }
                CoroutineResult::Return(result) => {
                    (self.nodes.borrow()[node].parent, last_words(result))
                }
            };
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.nodes.borrow().iter().position(|node| node.name == name)
    }

    fn is_dead(&self, node: usize) -> bool {
        let node = &self.nodes.borrow()[node];
        node.stack.is_none() && node.name != MAIN && node.name != self.running.get()
    }
}

/// What a parent hears of its child's end: its result, or an error that it did not handle. To have
/// been killed is no error.
fn last_words<V: Default>(result: Result<V, Raised>) -> Result<V, Raised> {
    match result {
        Err(raised) if raised.is::<GreenletExit>() => Ok(V::default()),
        result => result,
    }
}

/// Thrown into a greenlet to end it: pass it on, with `?`.
#[derive(Debug)]
pub struct GreenletExit;

impl fmt::Display for GreenletExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GreenletExit")
    }
}

impl Error for GreenletExit {}

/// A name, and what is wrong with it.
#[derive(Debug)]
pub struct Misnamed(&'static str, &'static str);

impl fmt::Display for Misnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "greenlet \"{}\" {}", self.0, self.1)
    }
}

impl Error for Misnamed {}

#[cfg(test)]
mod tests;
