"""What a handler may not call, by name: each entry says how sure it is and what is wrong with it.

Names are those of the place where a thing is made (`time.time`, `datetime.datetime.now`), whatever
the source calls it. What is not in here is taken for pure.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """`certain`: refused, else a warning. `reason` goes on from the name: "time.time() reads"."""

    certain: bool
    reason: str


CLOCK = Rule(True, "reads the clock; take event.recorded_at or event.occurred_at")
ZONE = Rule(False, "depends on the machine's time zone; name one")
RANDOM = Rule(True, "is random; draw it where the event is appended, and put it into the event")
UNIQUE = Rule(
    True, "makes a new id each time; make it where the event is appended, or use event.id"
)
ENVIRONMENT = Rule(True, "asks the environment, which is another one at the next replay")
LIKELY_ENVIRONMENT = Rule(False, ENVIRONMENT.reason)
IO = Rule(True, "reads or writes outside the state")
LIKELY_IO = Rule(False, "reads or writes outside the state, at every replay again")
NETWORK = Rule(True, "asks the network, which answers otherwise at the next replay")
LIKELY_NETWORK = Rule(False, NETWORK.reason)
CONTEXT = Rule(
    False, "is another one in every thread; name the precision and rounding where it counts"
)
HIDDEN = Rule(False, "runs code that cannot be looked at")
MUTATION = Rule(True, "changes what outlives the call, so that another replay begins elsewhere")
LIKELY_MUTATION = Rule(False, MUTATION.reason)
ADDRESS = Rule(True, "is a place in memory, another one in every process")
LIKELY_ADDRESS = Rule(False, ADDRESS.reason)
SEEDED = Rule(True, "of a str differs from process to process (PYTHONHASHSEED)")
LIKELY_SEEDED = Rule(False, "of a str, and of what holds one, differs from process to process")
UNORDERED = Rule(True, "takes a set's items in an order that differs from process to process; sort")
LIKELY_UNORDERED = Rule(False, UNORDERED.reason)


def _table(entries: dict[Rule, dict[str, str]]) -> dict[str, Rule]:
    return {
        f"{module}.{name}": rule
        for rule, modules in entries.items()
        for module, names in modules.items()
        for name in names.split()
    }


CALLS: dict[str, Rule] = _table({
    CLOCK: {
        "time": "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time"
        " process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns gmtime"
        " localtime ctime asctime strftime sleep",
        "datetime.datetime": "now utcnow today",
        "datetime.date": "today",
        "pendulum": "now today",
        "arrow": "now utcnow",
        "django.utils.timezone": "now localtime",
    },
    UNIQUE: {"uuid": "uuid1 uuid4 uuid6 uuid7 getnode"},
    RANDOM: {
        "random": "Random SystemRandom",
        "os": "urandom getrandom",
        "secrets": "token_bytes token_hex token_urlsafe randbelow randbits choice",
        "numpy.random": "default_rng RandomState",
    },
    ENVIRONMENT: {
        "os": "getenv getenvb getpid getppid getcwd getcwdb getlogin getuid cpu_count uname"
        " getloadavg times",
        "socket": "gethostname getfqdn",
        "getpass": "getuser getpass",
        "threading": "get_ident get_native_id current_thread",
        "pathlib.Path": "cwd home",
        "tempfile": "gettempdir",
    },
    LIKELY_ENVIRONMENT: {
        "platform": "node platform system machine release version uname python_version",
        "locale": "getlocale getpreferredencoding localeconv format_string currency",
        "os": "get_terminal_size",
        "importlib.metadata": "version",
        "sys": "getrefcount getsizeof _getframe getdefaultencoding",
        "gc": "collect get_objects get_count get_referrers",
        "inspect": "stack currentframe",
    },
    CONTEXT: {"decimal": "getcontext setcontext"},
    IO: {
        "builtins": "open input",
        "io": "open",
        "codecs": "open",
        "os": "open read write close remove unlink rename replace mkdir makedirs rmdir listdir"
        " scandir walk stat lstat access system popen chdir kill fork putenv",
        "os.path": "exists lexists isfile isdir islink getsize getmtime getatime getctime abspath"
        " realpath expanduser expandvars samefile",
        "glob": "glob iglob",
        "pathlib.Path": "read_text read_bytes write_text write_bytes open exists is_file is_dir"
        " iterdir glob rglob stat lstat mkdir rmdir unlink rename touch resolve absolute"
        " expanduser chmod symlink_to hardlink_to walk",
        "subprocess": "run call check_call check_output getoutput getstatusoutput Popen",
        "shutil": "copy copy2 copyfile copytree move rmtree which disk_usage",
        "tempfile": "mkdtemp mkstemp mktemp NamedTemporaryFile TemporaryDirectory TemporaryFile",
        "sqlite3": "connect",
    },
    LIKELY_IO: {
        "builtins": "print",
        "asyncio": "run create_task",
        "threading": "Thread",
        "logging": "debug info warning error exception critical log",
        "warnings": "warn",
    },
    NETWORK: {
        "socket": "socket create_connection getaddrinfo gethostbyname",
        "urllib.request": "urlopen urlretrieve",
        "http.client": "HTTPConnection HTTPSConnection",
        "smtplib": "SMTP SMTP_SSL",
        "requests": "get post put patch delete head options request Session",
        "requests.api": "get post put patch delete head options request",
        "httpx": "get post put patch delete head options request stream Client AsyncClient",
        "httpx2": "get post put patch delete head options request stream Client AsyncClient",
        "aiohttp": "ClientSession request",
    },
    LIKELY_NETWORK: {
        "openai": "OpenAI AsyncOpenAI",
        "anthropic": "Anthropic AsyncAnthropic",
        "litellm": "completion acompletion embedding",
        "boto3": "client resource",
        "redis": "Redis from_url",
    },
    HIDDEN: {"builtins": "exec eval compile __import__", "importlib": "import_module"},
})  # fmt: skip
"""By full name; a method under its class, and for all that derive from it."""

ATTRIBUTES: dict[str, Rule] = _table({
    ENVIRONMENT: {"sys": "argv path executable modules"},
    LIKELY_ENVIRONMENT: {"sys": "platform version version_info", "os": "name"},
    ZONE: {"time": "timezone altzone daylight tzname"},
})  # fmt: skip
"""What modules hold of the process and the machine, without a call."""

PURE_FROM: dict[str, int] = {
    "time.gmtime": 1,
    "time.localtime": 1,
    "time.ctime": 1,
    "time.asctime": 1,
    "time.strftime": 2,
    "random.Random": 1,
    "numpy.random.default_rng": 1,
    "numpy.random.RandomState": 1,
}
"""With this many arguments the call no longer asks the clock, or the seed is given."""

ZONED: dict[str, int] = {
    "time.localtime": 1,
    "time.ctime": 1,
    "time.mktime": 1,
    "datetime.datetime.fromtimestamp": 1,
    "datetime.date.fromtimestamp": 1,
    "datetime.datetime.astimezone": 0,
}
"""With exactly this many arguments the machine's time zone is meant."""

CLIENTS: dict[str, Rule] = {
    "requests": NETWORK,
    "httpx": NETWORK,
    "httpx2": NETWORK,
    "aiohttp": NETWORK,
    "socket": NETWORK,
    "smtplib": NETWORK,
    "sqlite3": IO,
    "psycopg": IO,
    "psycopg2": IO,
    "asyncpg": IO,
    "redis": IO,
    "openai": LIKELY_NETWORK,
    "anthropic": LIKELY_NETWORK,
    "_io": IO,
    "io": IO,
    "logging": LIKELY_IO,
    "_contextvars": LIKELY_ENVIRONMENT,
}
"""Packages whose objects, kept outside the handler, do such things in every method."""

MUTATORS = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "difference_update",
        "discard",
        "extend",
        "extendleft",
        "insert",
        "intersection_update",
        "pop",
        "popitem",
        "popleft",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "symmetric_difference_update",
        "update",
        "rotate",
        "subtract",
    ]
)
"""Methods that change a dict, list, set or deque in place."""

CHANGERS = frozenset(
    [
        *("builtins.setattr", "builtins.delattr"),
        *(f"operator.{name}" for name in ("setitem", "delitem", "iadd", "ior", "iconcat")),
        *(f"heapq.{name}" for name in ("heappush", "heappop", "heapify", "heapreplace")),
        *("heapq.heappushpop", "bisect.insort", "bisect.insort_left", "bisect.insort_right"),
        *(f"builtins.{cls}.{name}" for cls in ("list", "dict", "set") for name in MUTATORS),
    ]
)
"""Calls that change their first argument."""

GENERATORS = frozenset(
    [
        "random.Random",
        "numpy.random.mtrand.RandomState",
        "numpy.random._generator.Generator",
    ]
)
"""Classes whose objects, kept outside the handler, go on from where the last call left them."""

ORDERLESS = frozenset(
    [
        "builtins.sorted",
        "builtins.set",
        "builtins.frozenset",
        "builtins.len",
        "builtins.min",
        "builtins.max",
        "builtins.sum",
        "builtins.any",
        "builtins.all",
        "collections.Counter",
        "immutables.Map",
        "builtins.dict",
        "math.fsum",
    ]
)
"""Calls whose answer does not depend on the order of what they are given."""

_ITERATORS = (
    "accumulate batched chain chain.from_iterable combinations combinations_with_replacement"
    " compress cycle dropwhile filterfalse islice pairwise permutations product starmap takewhile"
    " tee zip_longest"
)

ORDERED = frozenset(
    [
        "builtins.list",
        "builtins.tuple",
        "builtins.enumerate",
        "builtins.zip",
        "builtins.iter",
        "builtins.map",
        "builtins.filter",
        "builtins.reversed",
        "builtins.str",
        "builtins.repr",
        "builtins.ascii",
        "builtins.format",
        "collections.deque",
        "reducers.persistent.PersistentList",
        *(f"itertools.{name}" for name in _ITERATORS.split()),
    ]
)
"""Calls that hand on the order of what they are given."""
