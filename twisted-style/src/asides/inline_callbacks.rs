//! The aside `inline-callbacks`: one task, once as a chain of callbacks and once as an `async`
//! block that awaits the same Deferreds.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use common::registry::Flags;
use common::report::section::Section;

use crate::twisted::defer::Deferred;
use crate::twisted::failure::Failure;
use crate::twisted::gather::gather_results;
use crate::twisted::inline::inline_callbacks;
use crate::twisted::reactor::Reactor;

// The aside shows the lines from here.
fn by_callbacks(shop: &Shop, name: &'static str) -> Deferred<u32> {
    let (orders, prices) = (shop.clone(), shop.clone());
    shop.customer(name)
        .add_callback(move |customer| orders.orders(customer))
        .add_callback(move |orders| {
            let orders = orders.into_iter();
            gather_results(orders.map(|order| prices.price(order)).collect())
        })
        .add_callback(|prices| Ok(prices.iter().sum()))
}

fn inline(shop: &Shop, name: &'static str) -> Deferred<u32> {
    let shop = shop.clone();
    inline_callbacks(async move {
        let customer = shop.customer(name).await?;
        let mut sum = 0;
        for order in shop.orders(customer).await? {
            sum += shop.price(order).await?;
        }
        Ok(sum)
    })
}
// The aside shows the lines up to here.

/// Answers a question after a millisecond, as a remote service does.
#[derive(Clone)]
struct Shop(Reactor, Rc<RefCell<Vec<String>>>);

impl Shop {
    fn customer(&self, name: &'static str) -> Deferred<u32> {
        let known = if name == "ann" { Ok(7) } else { Err(unknown(name)) };
        self.later(format!("customer({name})"), known)
    }

    fn orders(&self, customer: u32) -> Deferred<Vec<u32>> {
        self.later(format!("orders({customer})"), Ok(vec![1, 2, 3]))
    }

    fn price(&self, order: u32) -> Deferred<u32> {
        self.later(format!("price({order})"), Ok(order * 10))
    }

    fn later<T: 'static>(&self, question: String, answer: Result<T, Failure>) -> Deferred<T> {
        self.1.borrow_mut().push(question);
        let asked = self.1.clone();
        let later = self.0.defer_later(Duration::from_millis(1));
        later.add_callbacks(
            |()| answer,
            move |failure| {
                asked.borrow_mut().push("cancelled".to_string());
                Err(failure)
            },
        )
    }
}

fn unknown(name: &str) -> Failure {
    io::Error::new(io::ErrorKind::NotFound, format!("no customer {name}")).into()
}

pub fn aside(_: &Flags) -> Section {
    let mut section = Section::default();
    let source = include_str!("inline_callbacks.rs").lines();
    let source =
        source.skip_while(|line| !line.starts_with("// The aside shows the lines from")).skip(1);
    let source = source.take_while(|line| !line.starts_with("// The aside shows the lines up"));
    section.shown.extend(source.map(|line| format!("  {line}").trim_end().to_string()));
    match run() {
        Ok(answer) => section.answer = answer,
        Err(error) => section.wrong = Some(error.to_string()),
    }
    section
}

type Total = fn(&Shop, &'static str) -> Deferred<u32>;

fn run() -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for (way, total) in [("callbacks", by_callbacks as Total), ("inline", inline as Total)] {
        for name in ["ann", "bob"] {
            let (came, asked) = ask(total, name, false)?;
            lines.push(format!("{way:<9} {name} {came:<15} {asked}"));
        }
        let (came, asked) = ask(total, "ann", true)?;
        lines.push(format!("{way:<9} ann {came:<15} {asked}"));
    }
    Ok(lines)
}

/// The result, and what the shop was asked for.
fn ask(total: Total, name: &'static str, cancel: bool) -> io::Result<(String, String)> {
    let reactor = Reactor::new()?;
    let shop = Shop(reactor.clone(), Rc::default());
    let sum = total(&shop, name);
    if cancel {
        sum.cancel();
    }
    let came = match reactor.run_until(sum) {
        Ok(sum) => sum.to_string(),
        Err(failure) => failure.to_string(),
    };
    Ok((came, shop.1.take().join(" ")))
}
