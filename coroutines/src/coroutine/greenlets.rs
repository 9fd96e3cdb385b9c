//! Greenlets: coroutines that switch to each other by name, in any direction.
//!
//! A generator can only go back to whoever called it. A greenlet names the one that runs next and
//! hands it a value. Each has a parent: when it ends, its result goes there, and so does an error
//! that it did not handle. Rules and names are those of Python's greenlet package.
//!
//! corosensei's coroutines are generators too; a trampoline makes greenlets of them. To switch, a
//! greenlet leaves a letter and drops back onto the trampoline, and the trampoline delivers it.

use std::cell::{Cell, Ref, RefCell};
use std::error::Error;
use std::fmt;
use std::rc::Rc;
use std::thread;

use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::generators::{Misuse, Raised};
use super::stack::PooledStack;

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
    nodes: RefCell<Vec<Rc<Node<V>>>>,
}

struct Node<V> {
    name: &'static str,
    /// None in main.
    parent: Cell<Option<&'static str>>,
    /// None in main, and when it is dead. Borrowed while it runs.
    stack: RefCell<Option<Stack<V>>>,
}

impl<V: Default + 'static> Greenlet<'_, V> {
    /// Makes the running program the root of a new tree.
    pub fn main() -> Greenlet<'static, V> {
        let tree = Tree { nodes: RefCell::default() };
        tree.add(MAIN, None, None);
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
        self.tree.add(name, Some(self.name), Some(stack));
        Ok(())
    }

    /// Stops here, hands `value` to the greenlet of that name, and returns what is handed back
    /// when somebody switches here. Instead of a dead one its parent gets the value.
    ///
    /// # Errors
    ///
    /// Nobody has that name; or what is thrown here, or raised by a child and not handled.
    #[inline]
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
        self.tree.find(name).is_some_and(|node| node.is_dead())
    }

    /// Where its result goes. (`greenlet.parent`)
    pub fn parent(&self, name: &str) -> Option<&'static str> {
        self.tree.find(name)?.parent.get()
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
        node.parent.set(Some(parent));
        Ok(())
    }

    // A processor foresees where a function returns to by the calls it has seen; after a change
    // of stacks it is wrong. So no function lies between a body and its switch.
    #[expect(clippy::inline_always, reason = "a return behind a switch is never foreseen")]
    #[inline(always)]
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
        loop {
            let mut nodes = self.tree.nodes.take().into_iter().peekable();
            if nodes.peek().is_none() {
                return;
            }
            nodes.for_each(|node| drop(node.stack.take()));
        }
    }
}

impl<V: Default + 'static> Tree<V> {
    fn add(&self, name: &'static str, parent: Option<&'static str>, stack: Option<Stack<V>>) {
        let (parent, stack) = (Cell::new(parent), RefCell::new(stack));
        self.nodes.borrow_mut().push(Rc::new(Node { name, parent, stack }));
    }

    /// Delivers the letter, and then the one that comes back, until one is for main.
    #[inline(never)]
    fn trampoline(&self, mut letter: Letter<V>) -> Result<V, Raised> {
        let mut sender = MAIN;
        loop {
            let (name, carried) = letter;
            let Some(node) = self.find(name) else {
                letter = (sender, Err(Misnamed(name, "is nobody's name").into()));
                continue;
            };
            let Some(parent) = node.parent.get() else {
                return carried;
            };
            let mut stack = node.stack.borrow_mut();
            let Some(running) = stack.as_mut().filter(|stack| !stack.done()) else {
                letter = (parent, last_words(carried));
                continue;
            };
            sender = node.name;
            letter = match running.resume(carried) {
                CoroutineResult::Yield(letter) => letter,
                CoroutineResult::Return(result) => {
                    *stack = None;
                    // By now it may have another one.
                    (node.parent.get().unwrap_or(MAIN), last_words(result))
                }
            };
        }
    }

    fn find(&self, name: &str) -> Option<Rc<Node<V>>> {
        let nodes = self.nodes.borrow();
        // Most names are the same literal, which saves looking at the letters.
        let literal = nodes.iter().find(|node| std::ptr::eq(node.name, name));
        literal.or_else(|| nodes.iter().find(|node| node.name == name)).cloned()
    }
}

impl<V> Node<V> {
    fn is_dead(&self) -> bool {
        let ended = |stack: Ref<Option<Stack<V>>>| stack.as_ref().is_none_or(Coroutine::done);
        self.parent.get().is_some() && self.stack.try_borrow().is_ok_and(ended)
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
