//! Whether a newcomer may log in, asked of whoever decides: Python, which asks a URL. A newcomer waits for the answer;
//! without one it is refused.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use ginnel_derp::Key;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::wake::{drain, event, ring};

/// Newcomers that wait for an answer; more are refused.
const MAX_WAITING: usize = 1024;

/// Number of the question, node key, source.
pub type Question = (u64, Key, IpAddr);

#[derive(Default)]
struct Table {
    next: u64,
    unasked: VecDeque<Question>,
    waiting: HashMap<u64, oneshot::Sender<bool>>,
}

pub(crate) struct Verifier {
    on: bool,
    table: Mutex<Table>,
    wake: OwnedFd,
}

/// One question; forgotten when the newcomer is.
struct Asked<'v> {
    verifier: &'v Verifier,
    number: u64,
    answer: oneshot::Receiver<bool>,
}

impl Verifier {
    /// `on`: every newcomer is asked about.
    pub(crate) fn new(on: bool) -> io::Result<Self> {
        Ok(Self {
            on,
            table: Mutex::default(),
            wake: event()?,
        })
    }

    /// Readable while there are questions. Owned by this.
    pub(crate) fn fileno(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// True if nobody has to be asked, or who was asked said yes. The caller sets the time limit.
    pub(crate) async fn admits(&self, key: &Key, source: IpAddr) -> bool {
        match self.ask(key, source) {
            Ok(mut asked) => (&mut asked.answer).await.unwrap_or(false),
            Err(answer) => answer,
        }
    }

    fn ask(&self, key: &Key, source: IpAddr) -> Result<Asked<'_>, bool> {
        if !self.on {
            return Err(true);
        }
        let mut table = self.table.lock();
        if table.waiting.len() >= MAX_WAITING {
            return Err(false);
        }
        let number = table.next;
        table.next += 1;
        let (sender, answer) = oneshot::channel();
        table.waiting.insert(number, sender);
        table.unasked.push_back((number, *key, source));
        ring(&self.wake);
        Ok(Asked {
            verifier: self,
            number,
            answer,
        })
    }

    /// All questions that were not handed out yet.
    pub(crate) fn take_questions(&self) -> Vec<Question> {
        let mut table = self.table.lock();
        drain(&self.wake);
        table.unasked.drain(..).collect()
    }

    /// The answer to a question; one that nobody waits for is dropped.
    pub(crate) fn answer(&self, number: u64, allow: bool) {
        if let Some(sender) = self.table.lock().waiting.remove(&number) {
            // A newcomer that has just left needs no answer.
            let _ = sender.send(allow);
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut table = self.verifier.table.lock();
        table.waiting.remove(&self.number);
        table.unasked.retain(|question| question.0 != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test]
    async fn unless_it_is_on_everybody_is_admitted() {
        let verifier = Verifier::new(false).unwrap();
        assert!(verifier.admits(&[1; 32], SOURCE).await);
        assert!(verifier.take_questions().is_empty());
    }

    #[tokio::test]
    async fn the_answer_is_for_who_was_asked_about() {
        let verifier = Verifier::new(true).unwrap();
        let answering = async {
            let questions = verifier.take_questions();
            assert_eq!(questions.iter().map(|q| q.1[0]).collect::<Vec<_>>(), [1, 2]);
            verifier.answer(questions[1].0, true);
            verifier.answer(questions[0].0, false);
        };
        let (one, two) = ([1; 32], [2; 32]);
        let (first, second, ()) = tokio::join!(
            verifier.admits(&one, SOURCE),
            verifier.admits(&two, SOURCE),
            answering
        );
        assert!(!first && second);
        assert!(verifier.table.lock().waiting.is_empty());
    }

    #[test]
    fn newcomers_that_leave_are_forgotten_and_too_many_are_refused() {
        let verifier = Verifier::new(true).unwrap();
        let asked: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                verifier
                    .ask(&[1; 32], SOURCE)
                    .unwrap_or_else(|_| panic!("refused"))
            })
            .collect();
        assert!(matches!(verifier.ask(&[1; 32], SOURCE), Err(false)));
        drop(asked);
        assert!(verifier.take_questions().is_empty());
        assert!(verifier.ask(&[1; 32], SOURCE).is_ok());
    }
}
