"""The books of `firewall sync`: against a naive twin, and without a look at all of them for each answer."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.sync_vouched import THE_LIST, Leaving, Vouched
from ginnel.core.firewall.sync_words import Question
from ginnel.words import Instant, IpAddress

ADDRESSES = [IPv4Address(f"203.0.113.{number}") for number in range(1, 7)]
QUESTIONS = [THE_LIST, Question("a.example", 4), Question("b.example", 4), Question("c.example", 0)]
TIMES = st.integers(0, 5)


class Naive(Vouched):
    """Looks through everything."""

    def left_by(self, question: Question) -> list[IpAddress]:
        return [address for address, by in self.leaving.items() if question in by]

    def may_go(self, *, strangers: bool) -> Iterator[IpAddress]:
        for address, by in self.left():
            if all(leaving.confirmed and (strangers or not leaving.stranger) for leaving in by.values()):
                yield address


def step(books: Vouched, what: tuple[str, int, frozenset[IpAddress], int], now: Instant) -> None:
    """As `Sync` uses them: whoever lets go of an address stands by it."""
    kind, place, addresses, more = what
    question, until = QUESTIONS[place], Instant(now + more)
    match kind:
        case "answer":
            books.leave(books.answer(question, addresses), question, until, "left")
        case "forget":
            books.hand_over(question, until, until, "gone")
        case "ask":
            books.hand_back({question}, until)
        case "strangers":
            books.strangers(addresses, until)
        case "confirm":
            books.confirm(question, now, named=addresses)
        case "remove":
            for address in list(books.may_go(strangers=bool(more))):
                del books.leaving[address]


STEPS = st.tuples(
    st.sampled_from(["answer", "answer", "forget", "ask", "strangers", "confirm", "confirm", "remove"]),
    st.integers(0, len(QUESTIONS) - 1),
    st.frozensets(st.sampled_from(ADDRESSES)),
    TIMES,
)


@given(st.lists(STEPS, max_size=40))
def test_the_books_say_what_a_look_at_all_of_them_says(steps: list[tuple[str, int, frozenset[IpAddress], int]]) -> None:
    books, naive = Vouched(), Naive()
    for now, what in enumerate(steps):
        step(books, what, Instant(now))
        step(naive, what, Instant(now))
        for strangers in (False, True):
            assert set(books.may_go(strangers=strangers)) == set(naive.may_go(strangers=strangers))
        assert books.leaving == naive.leaving


class Counted(dict[IpAddress, dict[Question, Leaving]]):
    looks = 0

    def get(self, key: IpAddress, default: dict[Question, Leaving] | None = None) -> dict[Question, Leaving]:  # type: ignore[override]
        self.looks += 1
        return super().get(key, default or {})

    def items(self):  # type: ignore[no-untyped-def]
        self.looks += len(self)
        return super().items()


def test_an_answer_costs_no_look_at_what_others_left() -> None:
    """10,000 relays replaced by as many: 10,000 answers looked at 10,000 addresses each, for minutes."""
    books = Vouched()
    books.leaving = Counted()
    books.leave([IPv4Address(0xCB007100 + number) for number in range(1000)], THE_LIST, Instant(300.0), "gone")
    books.leaving.looks = 0
    for number in range(100):
        question = Question(f"r{number}.example", 4)
        books.answer(question, frozenset({IPv4Address(0xC6336400 + number)}))
        books.confirm(question, Instant(1.0))
        assert not list(books.may_go(strangers=True))
    assert books.leaving.looks < 1000
