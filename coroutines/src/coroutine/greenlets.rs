//! Greenlets: coroutines that switch to each other by name, in any direction.
//!
//! A generator can only go back to its caller. A greenlet names the greenlet that runs next and
//! passes it a value. Each greenlet has a parent. When it ends, the parent receives its result, or
//! the error that it did not handle. Rules and names are those of Python's greenlet package.
//!
//! corosensei's coroutines are generators too; a trampoline makes greenlets of them. To switch, a
//! greenlet leaves a letter and returns to the trampoline, which delivers the letter.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::thread;

use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::generators::{Misuse, Raised};
use super::stack::PooledStack;
use super::unwind::{finish, unwind};

/// The greenlet that the program starts in: the root of the tree.
pub const MAIN: &str = "main";

/// What a switch carries.
enum Carried<V> {
    Value(V),
    /// An error to be raised in the other greenlet.
    Raise(Raised),
    /// A panic, which continues in the other greenlet.
    Panic(Box<dyn Any + Send>),
    /// The greenlet did not end when it was told to.
    Unwind,
}

/// The greenlet it is for, and what it carries.
type Letter<V> = (&'static str, Carried<V>);

type Stack<V> = Coroutine<Carried<V>, Letter<V>, Carried<V>, PooledStack>;

/// The running greenlet, in a tree of greenlets that pass each other values of type `V`.
///
/// When that of main is dropped, it ends the others: a [`GreenletExit`] is raised in them.
pub struct Greenlet<'a, V> {
    node: Rc<Node<V>>,
    tree: Rc<Tree<V>>,
    /// `None` in main, which runs the trampoline.
    yielder: Option<&'a Yielder<Carried<V>, Letter<V>>>,
    /// Another panic was under way when this one was resumed.
    panicking: Cell<bool>,
}

struct Tree<V> {
    nodes: RefCell<BTreeMap<&'static str, Rc<Node<V>>>>,
    /// Another greenlet than main runs.
    away: Cell<bool>,
    next: Cell<usize>,
}

struct Node<V> {
    name: &'static str,
    /// `None` in main.
    parent: RefCell<Option<Rc<Node<V>>>>,
    /// `None` in main, and when it is dead. Borrowed while it runs.
    stack: RefCell<Option<Stack<V>>>,
    /// The order in which they were made.
    number: usize,
}

impl<V: Default + 'static> Greenlet<'_, V> {
    /// Makes the running program the root of a new tree.
    pub fn main() -> Greenlet<'static, V> {
        let tree =
            Rc::new(Tree { nodes: RefCell::default(), away: Cell::new(false), next: Cell::new(0) });
        let node = tree.add(MAIN, None);
        Greenlet { node, tree, yielder: None, panicking: Cell::new(thread::panicking()) }
    }

    /// Makes a greenlet. Its parent is this one. It starts with the first value switched to it. The
    /// name of a dead one can be used again. (`greenlet(run, parent)`)
    ///
    /// # Errors
    ///
    /// The name is taken, or the kernel has no stack left.
    pub fn greenlet<F>(&self, name: &'static str, body: F) -> Result<(), Raised>
    where
        F: FnOnce(&Greenlet<V>, V) -> Result<V, Raised> + 'static,
    {
        if self.tree.find(name).is_some_and(|node| !node.is_dead()) {
            return Err(Misnamed(name, "is there already").into());
        }
        let stack = PooledStack::new()?;
        let node = self.tree.add(name, Some(self.node.clone()));
        let (own, tree) = (node.clone(), self.tree.clone());
        let stack = Coroutine::with_stack(stack, move |yielder, first| {
            let result = catch_unwind(AssertUnwindSafe(move || {
                let first = match first {
                    Carried::Value(first) => first,
                    // Raised before its first line. It does not unwind yet: the body is dropped
                    // first.
                    Carried::Raise(raised) => return Carried::Raise(raised),
                    Carried::Panic(payload) => return Carried::Panic(payload),
                    Carried::Unwind => return Carried::Unwind,
                };
                let panicking = Cell::new(thread::panicking());
                match body(&Greenlet { node: own, tree, yielder: Some(yielder), panicking }, first)
                {
                    Ok(value) => Carried::Value(value),
                    Err(raised) => Carried::Raise(raised),
                }
            }));
            result.unwrap_or_else(Carried::Panic)
        });
        node.stack.replace(Some(stack));
        Ok(())
    }

    /// Stops here, passes `value` to the greenlet of that name, and returns the value that is
    /// passed here in a later switch. If that greenlet is dead, its parent gets the value.
    ///
    /// # Errors
    ///
    /// No greenlet has that name; an error thrown in here, or raised by a child and not handled;
    /// [`Misuse`] in a destructor during a panic, and in main while another of its tree runs.
    ///
    /// # Panics
    ///
    /// When a child does. A `catch_unwind` around the switch catches it.
    #[inline]
    pub fn switch(&self, to: &'static str, value: V) -> Result<V, Raised> {
        self.send((to, Carried::Value(value)))
    }

    /// Stops here and raises `error` in the greenlet of that name, where it switched away.
    /// A [`GreenletExit`] kills it quietly.
    ///
    /// # Errors
    ///
    /// As [`switch`](Greenlet::switch).
    pub fn throw(&self, to: &'static str, error: impl Into<Raised>) -> Result<V, Raised> {
        self.send((to, Carried::Raise(error.into())))
    }

    /// The name of the running greenlet. (`getcurrent`)
    pub fn name(&self) -> &'static str {
        self.node.name
    }

    /// Whether it has ended. (`greenlet.dead`)
    pub fn dead(&self, name: &str) -> bool {
        self.tree.find(name).is_some_and(|node| node.is_dead())
    }

    /// The greenlet that receives its result. (`greenlet.parent`)
    pub fn parent(&self, name: &str) -> Option<&'static str> {
        Some(self.tree.find(name)?.parent()?.name)
    }

    /// Gives a greenlet another parent.
    ///
    /// # Errors
    ///
    /// A name does not exist, is main, or would make a greenlet its own ancestor.
    pub fn set_parent(&self, name: &'static str, parent: &'static str) -> Result<(), Raised> {
        let named = |name| self.tree.find(name).ok_or(Misnamed(name, "does not exist"));
        let (node, parent) = (named(name)?, named(parent)?);
        let mut ancestor = Some(parent.clone());
        while let Some(above) = ancestor {
            if Rc::ptr_eq(&above, &node) {
                return Err(Misnamed(name, "would be its own ancestor").into());
            }
            ancestor = above.parent();
        }
        node.parent.replace(Some(parent));
        Ok(())
    }

    // A processor predicts the target of a return from the calls before it. After a switch of
    // stacks that is wrong. So no function call lies between a body and its switch.
    #[expect(clippy::inline_always, reason = "a return after a switch is never predicted")]
    #[inline(always)]
    fn send(&self, letter: Letter<V>) -> Result<V, Raised> {
        if thread::panicking() && !self.panicking.get() {
            return Err(Misuse("a greenlet that is being unwound cannot switch").into());
        }
        let carried = match self.yielder {
            Some(yielder) => yielder.suspend(letter),
            None => self.tree.trampoline(letter),
        };
        match carried {
            Carried::Value(value) => Ok(value),
            Carried::Raise(raised) => Err(raised),
            Carried::Panic(payload) => self.end(|| resume_unwind(payload)),
            Carried::Unwind => self.end(|| unwind()),
        }
    }

    /// From here on the stack of the greenlet is unwound.
    #[cold]
    fn end(&self, unwind: impl FnOnce() -> Result<V, Raised>) -> Result<V, Raised> {
        self.panicking.set(false);
        unwind()
    }
}

impl<V> Drop for Greenlet<'_, V> {
    fn drop(&mut self) {
        if self.yielder.is_some() {
            return;
        }
        // The suspended greenlets keep the tree alive, and the tree keeps them alive.
        loop {
            let mut nodes: Vec<_> = self.tree.nodes.take().into_values().collect();
            if nodes.is_empty() {
                return;
            }
            nodes.sort_by_key(|node| node.number);
            for node in nodes {
                node.end();
            }
        }
    }
}

impl<V> Tree<V> {
    fn add(&self, name: &'static str, parent: Option<Rc<Node<V>>>) -> Rc<Node<V>> {
        let mut nodes = self.nodes.borrow_mut();
        let (parent, stack) = (RefCell::new(parent), RefCell::new(None));
        let number = self.next.replace(self.next.get() + 1);
        let node = Rc::new(Node { name, parent, stack, number });
        nodes.insert(name, node.clone());
        node
    }

    #[inline]
    fn find(&self, name: &str) -> Option<Rc<Node<V>>> {
        self.nodes.borrow().get(name).cloned()
    }
}

impl<V: Default> Tree<V> {
    /// Delivers the letter, and then the one that is sent back, until one is for main.
    #[inline(never)]
    fn trampoline(&self, (name, mut carried): Letter<V>) -> Carried<V> {
        /// Reset at every end, also when the task that runs it is closed.
        struct Away<'a>(&'a Cell<bool>);
        impl Drop for Away<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        let Some(mut node) = self.find(name) else {
            return Carried::Raise(Misnamed(name, "does not exist").into());
        };
        if self.away.replace(true) {
            return Carried::Raise(Misuse("another greenlet of this tree is running").into());
        }
        let _away = Away(&self.away);
        loop {
            if node.is_main() {
                return carried;
            }
            let mut stack = node.stack.borrow_mut();
            let Some(running) = stack.as_mut() else {
                drop(stack);
                (node, carried) = (node.heir(), last_words(carried));
                continue;
            };
            match running.resume(carried) {
                CoroutineResult::Yield((name, letter)) => match self.find(name) {
                    Some(next) => {
                        drop(stack);
                        (node, carried) = (next, letter);
                    }
                    None => carried = Carried::Raise(Misnamed(name, "does not exist").into()),
                },
                CoroutineResult::Return(result) => {
                    *stack = None;
                    drop(stack);
                    (node, carried) = (node.heir(), last_words(result));
                }
            }
        }
    }
}

impl<V> Node<V> {
    fn parent(&self) -> Option<Rc<Node<V>>> {
        self.parent.borrow().clone()
    }

    /// The first of its tree.
    fn is_main(&self) -> bool {
        self.number == 0
    }

    /// The receiver of what is sent to a dead greenlet: its parent, which may have changed since.
    fn heir(&self) -> Rc<Node<V>> {
        self.parent().expect("only main has none, and main does not die")
    }

    fn is_dead(&self) -> bool {
        !self.is_main() && self.stack.try_borrow().is_ok_and(|stack| stack.is_none())
    }

    /// Raises a [`GreenletExit`] where it is suspended. No greenlet receives its result.
    fn end(&self) {
        let Some(stack) = self.stack.take() else {
            return;
        };
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let result = finish(stack, |attempt| match attempt {
                0 => Carried::Raise(GreenletExit.into()),
                _ => Carried::Unwind,
            });
            if let Some(Carried::Raise(raised)) = result
                && !raised.is::<GreenletExit>()
            {
                eprintln!("while greenlet \"{}\" was dropped: {raised}", self.name);
            }
        }));
    }
}

/// What a parent receives when its child ends: its result, or an error that it did not handle. A
/// kill is not an error.
fn last_words<V: Default>(result: Carried<V>) -> Carried<V> {
    match result {
        Carried::Raise(raised) if raised.is::<GreenletExit>() => Carried::Value(V::default()),
        result => result,
    }
}

/// Thrown into a greenlet to end it. Pass it on, with `?`.
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
