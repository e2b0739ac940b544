"""The store of live cameras: fed while they run, even where it cannot be written for a while, and kept as long as their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.config import Config, Live
from pipeline.identities.storing import link_store
from pipeline.live.guard import Guard
from pipeline.sinks.store_feed import FeedCamera, StoreFeed
from pipeline.store import FILE, Store, StoreSettings
from tracker.linking.updates import Key

MOST_WAITING = 20_000  # tracklets and events that wait for a store that cannot be written; the oldest are lost then


class LiveFeed(StoreFeed):
    """A feed that keeps what it cannot write, and tries again: ``guard`` counts what is lost."""

    def __init__(
        self,
        store: Store,
        source: int,
        describe: Callable[[str], FeedCamera],
        erase: Callable[[set[Key]], None],
        wall: Callable[[], float],
    ) -> None:
        super().__init__(store, source, describe, erase, wall)
        self.guard = Guard(f"{store.path}")

    def flush_if_due(self) -> None:
        with self.guard.trying():
            super().flush_if_due()
        for waiting in (self._tracklets, self._events):
            if len(waiting) > MOST_WAITING:
                self.guard.lost += len(waiting) - MOST_WAITING
                del waiting[:-MOST_WAITING]

    def close(self) -> None:
        with self.guard.trying():
            super().close()
        self.guard.lost += len(self._tracklets) + len(self._events)


def open_feed(
    out: Path,
    config: Config,
    facts: Mapping[str, str],
    wall: Callable[[], float],
    describe: Callable[[str], FeedCamera],
    erase: Callable[[set[Key]], None],
) -> LiveFeed:
    """The feed of the store that live cameras in ``out`` write. Raises OutputError and UsageError as opening it does."""
    path = config.store.path or out / FILE
    store = Store(path, kept_as_files(config.store, config.live), create=True)
    try:
        store.use_model(facts, "these cameras")
        link_store(out, store.path)
        source = store.sightings.add_source("live", str(out.resolve()), out.resolve().name, wall())
    except BaseException:
        store.close()
        raise
    return LiveFeed(store, source.id, describe, erase, wall)


def kept_as_files(store: StoreSettings, live: Live) -> StoreSettings:
    """``store`` with the limits of the files of live cameras where it has none of its own."""
    return store.changed(
        keep_sightings=live.keep_tracks if store.keep_sightings is None else store.keep_sightings,
        keep_crops=live.keep_images if store.keep_crops is None else store.keep_crops,
        keep_events=live.keep_events if store.keep_events is None else store.keep_events,
    )
