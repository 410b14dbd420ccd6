"""The files that a generation writes, from the first check to their names: one file, or shards and their master."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError, OutputError
from data_gen.files.places import check_free, is_of, is_regular, place_of
from data_gen.files.whole import only_writer, put_file, sweep, written_aside
from data_gen.header import Header
from data_gen.spec import DatasetSpec
from data_gen.storage import dataset as store
from data_gen.storage import journal
from data_gen.storage.chunked import compress_file
from data_gen.storage.hdf5_layout import DATASET, methods_attribute, record_methods, spec_attributes
from data_gen.storage.journal import Checksums, FileMap, journal_path, partial_path
from data_gen.storage.seal import write_seal
from data_gen.storage.sealing import seal_file
from data_gen.storage.shards import MAX_SHARDS, Shard, checksum_of, create_master, is_shard_name, shard_paths, shards_of

#: Memory that computing a block takes, in sizes of the block: measured 3 to 6.
BLOCK_COPIES = 4


@dataclass(frozen=True)
class Part:
    """One file and its blocks, counted from ``first_block`` on: a whole dataset, or a shard of one."""

    path: Path
    first_block: int
    file_map: FileMap

    @property
    def partial(self) -> Path:
        """Where it is written until the dataset is whole."""
        return partial_path(self.path)

    @property
    def blocks(self) -> range:
        """Its blocks, as the dataset counts them."""
        return range(self.first_block, self.first_block + self.file_map.num_blocks)

    def rows(self, block: int) -> int:
        """Number of samples of a block."""
        start, stop = self.file_map.block_rows(block - self.first_block)
        return stop - start

    def write(self, block: int, fields: tuple[np.ndarray, ...]) -> Checksums:
        """Put a block in its place, wait until it is on the disk, and give its checksums."""
        return journal.write_block(self.partial, self.file_map, block - self.first_block, fields)

    def read_checksums(self, block: int) -> Checksums:
        """Checksums of a block on the disk."""
        return journal.read_checksums(self.partial, self.file_map, block - self.first_block)

    def check(self) -> None:
        """Read the finished file's structure and its checksums; its blocks were read when they were written.

        Raises:
            OutputError: it is damaged.
        """
        try:
            same = store.read_map(self.partial) == self.file_map
        except (OSError, DatasetError, KeyError, ValueError, TypeError):
            same = False
        if not same or self.partial.stat().st_size < self.file_map.size:
            raise OutputError(f"{self.partial} does not hold what was written to it. Check the disk.")


class Output:
    """The files of one generation.

    Args:
        path: the dataset's file.
        spec: its description.
        shards: number of files for the samples; 1 puts them into the dataset's file.
        level: effort of gzip with which the files are compressed once all blocks are written; 0 leaves them plain.

    Raises:
        ValueError: there are more shards than blocks, or than a dataset can have.
        FileNotFoundError, IsADirectoryError, FileExistsError: the path cannot be one of a file.
    """

    def __init__(self, path: Path, spec: DatasetSpec, shards: int = 1, level: int = 0) -> None:
        self.path, self.spec, self.shards, self.level = place_of(path, "generate", "path"), spec, shards, level
        self.token, self.parts, self.overwrite = uuid.uuid4().hex, list[Part](), False
        self.methods: dict[int, str] = {}
        self.header: Header = spec.header
        self.num_blocks = -(-spec.samples // self.header.block_samples)
        if not shards <= min(self.num_blocks, MAX_SHARDS):
            raise ValueError(
                f"generate: `shards` must be at most {min(self.num_blocks, MAX_SHARDS)} for {spec.samples} samples in "
                f"blocks of {self.header.block_samples}; got {shards}."
            )
        if shards > 1 and "%" in path.name:
            raise ValueError(f"generate: `path` must have no % in its name with shards; got {path}.")

    @property
    def journal(self) -> Path:
        """The list of blocks that are on the disk."""
        return journal_path(self.path)

    @contextlib.contextmanager
    def only_writer(self) -> Iterator[None]:
        """Hold the lock of the dataset inside this block.

        Raises:
            OutputError: another process is generating or writing this file.
            FileExistsError: a file that is no part of an unfinished generation has the name of one.
        """
        if not os.access(self.path.parent, os.W_OK):
            raise PermissionError(f"generate: `path` must lie in a folder that can be written; got {self.path}.")
        with only_writer(self.path, "generate", "path") as locked:
            if locked:
                partial = partial_path(self.path)
                sweep(self.path.parent, self.path.name, self.journal.name, partial.name, also=self._is_shard)
            self._refuse_strangers()
            yield

    def _is_shard(self, name: str) -> bool:
        """Whether a name could be that of a shard, finished or not."""
        return is_shard_name(self.path, name.removesuffix(".partial"))

    def is_whole(self, *, resume: bool, overwrite: bool) -> bool:
        """Refuse an unusable output before any work; True if the whole file exists already."""
        path, self.overwrite = self.path, overwrite
        if not (resume and os.path.lexists(path)):
            check_free(path, "generate", "path", kind=DATASET, overwrite=overwrite, demand="not exist")
        if overwrite:
            return False
        if path.exists():
            self._check_same()
            if journal.read_journal(self.journal)[0] == self.spec.config_hash:
                self.drop()  # what it was compressed from
            return True
        if not resume and (left := self._unfinished()):
            raise FileExistsError(
                f"generate: `path` must not be unfinished; got {path} with {left[0].name} in its folder. "
                f"Finish it with resume=True (--resume), or drop it with overwrite=True (--overwrite)."
            )
        return False

    def _check_same(self) -> None:
        with store.open_dataset(self.path) as data:
            made_from = data.spec
        if made_from is None:
            raise DatasetError(
                f"generate: {self.path} was converted, not generated, so it cannot be resumed. Move it away."
            )
        if made_from.config_hash != self.spec.config_hash:
            before, after = made_from.to_dict(), self.spec.to_dict()
            keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
            difference = "; ".join(f"{key} is {before.get(key)!r}, asked for {after.get(key)!r}" for key in keys)
            raise DatasetError(f"generate: {self.path} is a whole dataset of another configuration: {difference}.")

    def _refuse_strangers(self) -> None:
        """Refuse what has the name of an unfinished file, or of the journal, and cannot be one that this tool wrote.

        What lies next to a journal is of that generation, even if it is too damaged for anyone to say.
        """
        left = self._unfinished()
        begun = self.journal in left and is_regular(self.journal) and bool(journal.read_start(self.journal))
        for path in left:
            ours = begun if path == self.journal else begun or (is_regular(path) and is_of(DATASET, path))
            if not (ours and is_regular(path)):
                raise FileExistsError(
                    f"generate: `path` must have a free place for its unfinished file; {path} is there and was not "
                    f"written by generate. Move it away, or choose another path."
                )

    def _unfinished(self) -> list[Path]:
        """What has the names of an unfinished generation's files."""
        left = [path for path in (partial_path(self.path), self.journal) if os.path.lexists(path)]
        names = (path.name.removesuffix(".partial") for path in self.path.parent.glob("*.partial"))
        return left + [partial_path(self.path.with_name(name)) for name in names if is_shard_name(self.path, name)]

    def check_space(self) -> None:
        """Refuse a disk or a memory that is too small, before either is asked for.

        Raises:
            DatasetError: the file does not fit on its disk.
            MemoryError: a block cannot be computed in the machine's memory.
        """
        free, needed = shutil.disk_usage(self.path.parent).free, self.spec.samples * self.header.row_bytes
        needed *= 2 if self.level else 1  # a compressed file may be as large, and is written next to the plain one
        if needed > free:
            raise DatasetError(
                f"generate: {self.path} needs {needed // 10**6} MB and its disk has {free // 10**6} MB free."
            )
        block = min(self.spec.samples, self.header.block_samples) * self.header.row_bytes
        if BLOCK_COPIES * block > (memory := _memory()):
            raise MemoryError(
                f"a block of {self.header.block_samples} samples takes about {BLOCK_COPIES * block // 10**6} MB, and "
                f"this machine has {memory // 10**6} MB"
            )

    def create(self) -> None:
        """Create every file at its full size, and remove unfinished ones."""
        self.drop()
        try:
            self.parts = [self._create_part(*planned) for planned in self._plan()]
        except OSError as error:
            self.drop()
            raise DatasetError(f"generate: {self.path} cannot be created ({_reason(error)}).") from None
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Remove unfinished files."""
        for path in self._unfinished():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def resume(self) -> dict[int, Checksums] | None:
        """Find the unfinished files, and return their valid blocks; None if there is nothing to resume."""
        config_hash, listed = journal.read_journal(self.journal)
        if not config_hash:
            return None
        self._check_journal(config_hash)
        self.methods = journal.read_methods(self.journal)
        done: dict[int, Checksums] = {}
        plan, lost = self._plan(), 0
        for path, header, attributes, first_block in plan:
            if self.shards > 1 and path.exists() and not partial_path(path).exists():
                os.replace(path, partial_path(path))  # interrupted when some files had their names already
            found = partial_path(path).exists()
            lost += not found
            if not found:
                part = self._create_part(path, header, attributes, first_block)
            else:
                part = self._find_part(path, first_block)
                done |= {b: listed[b] for b in part.blocks if b in listed and part.read_checksums(b) == listed[b]}
            self.parts.append(part)
        if lost == len(plan):
            self.parts = []
            return None
        return done

    def _check_journal(self, config_hash: str) -> None:
        partial, shards = partial_path(self.path), journal.read_start(self.journal).get("shards", 1)
        if config_hash != self.spec.config_hash:
            raise DatasetError(
                f"generate: {partial} is of another configuration than the one asked for, so it cannot be resumed. Ask "
                f"for the same, or start again with overwrite=True (--overwrite)."
            )
        if shards != self.shards:
            raise DatasetError(
                f"generate: {partial} was begun with shards={shards}, so it cannot be resumed with {self.shards}. Ask "
                f"for the same, or start again with overwrite=True (--overwrite)."
            )

    def _find_part(self, path: Path, first_block: int) -> Part:
        partial = partial_path(path)
        try:
            return Part(path, first_block, store.read_map(partial))
        except (OSError, DatasetError) as error:
            raise DatasetError(
                f"generate: {partial} is damaged ({error}). Start again with overwrite=True (--overwrite)."
            ) from None

    def _plan(self) -> list[tuple[Path, Header, Mapping[str, Any], int]]:
        """Path, header, further attributes and first block of each file with fields."""
        if self.shards == 1:
            return [(self.path, self.header, spec_attributes(self.spec), 0)]
        plan, first, size = [], 0, self.header.block_samples
        for i, path in enumerate(shard_paths(self.path, self.shards, self.spec.config_hash)):
            last = first + self.num_blocks // self.shards + (i < self.num_blocks % self.shards)
            start, stop = first * size, min(last * size, self.spec.samples)
            attributes = {"shard_of": self.spec.config_hash, "first_sample": start}
            attributes["source"] = f"samples {start}..{stop - 1} of a generated dataset of {self.spec.samples}"
            plan.append((path, replace(self.header, num_samples=stop - start), attributes, first))
            first = last
        return plan

    def _create_part(self, path: Path, header: Header, attributes: Mapping[str, Any], first_block: int) -> Part:
        partial = partial_path(path)
        with written_aside(partial, replace=False) as aside:
            start = first_block * self.header.block_samples
            table = self.spec.parameter_table(range(start, start + header.num_samples))
            file_map = store.create_empty(aside, header, attributes, table)
        return Part(path, first_block, file_map)

    def start_journal(self, done: dict[int, Checksums]) -> None:
        """Write a journal of the blocks that are there."""
        journal.start_journal(self.journal, self.spec.config_hash, done, shards=self.shards, token=self.token)
        self.methods = {block: method for block, method in self.methods.items() if block in done}
        for block, method in self.methods.items():
            journal.append_method(self.journal, block, method)

    def list_block(self, block: int, checksums: Checksums, method: str) -> None:
        """Add a block that is on the disk to the journal, with the method that solved it."""
        if method != self.spec.method:
            self.methods[block] = method
            journal.append_method(self.journal, block, method)
        journal.append_journal(self.journal, block, checksums)

    def finish(self, done: dict[int, Checksums]) -> None:
        """Write the checksums into the files, check and rename them; remove the journal and replaced shards.

        Raises:
            OutputError: a file does not hold what was written to it.
            FileExistsError: meanwhile somebody else wrote the dataset's file.
        """
        replaced = set(shards_of(self.path))
        for part in self.parts:
            journal.write_checksums(part.partial, part.file_map, {b - part.first_block: done[b] for b in part.blocks})
            others = {b - part.first_block: self.methods[b] for b in part.blocks if b in self.methods}
            if others:
                record_methods(part.partial, others)
            if not self.level:
                seal_file(part.partial)
                part.check()
        for part in self.parts:
            self._put(part)
        if self.shards > 1:
            self._write_master(done)
        for part in self.parts:
            part.partial.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)
        for old in replaced - {part.path for part in self.parts}:
            old.unlink(missing_ok=True)

    def _put(self, part: Part) -> None:
        """Give a finished file its name. One that is compressed keeps the plain file until all are there, so that an
        interrupted run can be resumed.
        """
        replace = self.overwrite or self.shards > 1
        if not self.level:
            put_file(part.partial, part.path, replace=replace)
            return
        with written_aside(part.path, replace=replace) as aside:
            compress_file(part.partial, aside, self.level)

    def _write_master(self, done: dict[int, Checksums]) -> None:
        names, shards, size = list(self.header.stored_shapes), [], self.header.block_samples
        table = np.array([done[block] for block in range(self.num_blocks)], dtype=np.int64).T
        for part in self.parts:
            start, rows = part.first_block * size, part.file_map.num_samples
            checksum = checksum_of(table[:, part.blocks.start : part.blocks.stop])
            shards.append(Shard(part.path.name, start, start + rows, checksum))
        with written_aside(self.path, replace=self.overwrite) as aside:
            create_master(
                aside,
                self.header,
                {**spec_attributes(self.spec), **methods_attribute(self.methods)},
                shards,
                dict(zip(names, table, strict=True)),
                self.spec.parameter_table(range(self.spec.samples)),
            )
            write_seal(aside, [])  # its fields lie in the shards, which are sealed


def _memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def failed_write(path: Path, error: OSError, done: int, num_blocks: int) -> DatasetError:
    """The error to raise when the operating system refuses a write: no block is lost."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    fix = "Make room" if full else "Fix that"
    return DatasetError(
        f"generate: {path} cannot be written ({_reason(error)}); {done} of {num_blocks} blocks are kept. {fix}, then "
        f"resume to finish it (--resume)."
    )


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split()) or type(error).__name__
