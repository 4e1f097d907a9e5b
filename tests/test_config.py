"""What jobd.ini may say, and what it is told when it says something else."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobd.config import Listen, Settings, Size, load
from jobd.config.settings import Database, parse_bytes, parse_duration, parse_size
from jobd.errors import ConfigError
from jobd.executor import Executor, Options

KB, MB, GB = 2**10, 2**20, 2**30


class DockerOptions(Options):
    socket: str = "unix:///var/run/docker.sock"
    pids: int = 100
    key: Path | None = None
    state: Path = Path("state")
    dns: tuple[str, ...] = ()


class Docker(Executor):
    options = DockerOptions


KINDS: dict[str, type[Executor]] = {"docker": Docker, "dry-run": Executor}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read(folder):
    def read(text: str, environ: dict[str, str] | None = None, **options: str) -> Settings:
        (folder / "jobd.ini").write_bytes(text.encode())
        return load(Path("jobd.ini"), KINDS, environ or {}, **options)

    return read


@pytest.fixture
def faults(read):
    def faults(text: str, environ: dict[str, str] | None = None, **options: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read(text, environ, **options)
        return caught.value.message.split("\n")

    return faults


def test_an_empty_file_is_a_whole_configuration(read, folder):
    settings = read("")
    assert settings.path == folder / "jobd.ini"
    assert settings.jobd.listen == Listen(host="127.0.0.1", port=8080)
    assert settings.jobd.data_dir == folder / "var"
    assert settings.database.url == f"sqlite:///{folder}/var/jobd.db"
    assert settings.execs.max_age == 90 * 86400
    assert settings.sizes == {"XXS": Size(cpus=0.15, memory=64 * MB), "XS": Size(cpus=0.25, memory=128 * MB)}
    assert [(region.name, region.executor) for region in settings.regions.values()] == [
        ("BEIJING1", "docker"),
        ("DRYRUN", "dry-run"),
    ]
    assert settings.regions["BEIJING1"].options == DockerOptions(state=folder / "state")


def test_all_faults_are_told_at_once_each_with_its_line_and_what_is_right(faults):
    assert faults(
        """[jobd]
lisen = 127.0.0.1:1
[execs]
timeout = soon
kept = none
[databse]
[region:BEIJING1]
executor = dokcer
"""
    ) == [
        "jobd.ini:2: [jobd] lisen: no such key; expected listen",
        "jobd.ini:4: [execs] timeout: `soon` is not a duration;"
        " expected seconds, or a number with s, m, h or d, as in 90d",
        "jobd.ini:5: [execs] kept: should be a valid integer, unable to parse string as an integer;"
        " expected a value such as 100",
        "jobd.ini:6: [databse] is not a section; expected [database]",
        "jobd.ini:8: [region:BEIJING1] executor: `dokcer` is not an installed executor; expected docker",
    ]


@pytest.mark.parametrize(
    ("section", "right"),
    [
        ("Jobd", "[jobd]"),
        ("exec", "[execs]"),
        ("region", "[region:NAME]"),
        ("Region:X", "[region:NAME]"),
        ("registery:x.org", "[registry:HOST]"),
        ("execs:X", "[execs]"),
    ],
)
def test_a_misspelt_section_is_told_the_nearest(faults, section, right):
    assert faults(f"[{section}]") == [f"jobd.ini:1: [{section}] is not a section; expected {right}"]


def test_a_key_that_resembles_none_is_told_all_there_are(faults):
    assert faults("[database]\nqqq = 1") == [
        "jobd.ini:2: [database] qqq: no such key; expected one of url, connections"
    ]


def test_names_keep_their_case(faults):
    assert faults("[execs]\nTimeout = 1") == ["jobd.ini:2: [execs] Timeout: no such key; expected timeout"]


def test_a_section_or_key_that_stands_twice_is_told_both_lines(faults):
    assert faults("[execs]\nkept = 1\n[jobd]\n[execs]\nkept = 2\n") == [
        "jobd.ini:4: [execs] is already on line 1; expected one section of that name",
        "jobd.ini:5: [execs] kept: already on line 2; expected one line for each key",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kept = 1", "jobd.ini:1: `kept` stands before any section"),
        ("[jobd", "jobd.ini:1: `[jobd` is not a section"),
        ("[ ]", "jobd.ini:1: `[ ]` is not a section"),
        ("[execs]\nkept 5", "jobd.ini:2: [execs] `kept` is not a key with a value"),
        ("[execs]\n= 5", "jobd.ini:2: [execs] `` is not a key with a value"),
        ("[jobd]\ndata_dir = a\x00b", "jobd.ini:2: contains a control character"),
    ],
)
def test_a_line_that_is_no_ini_is_told(faults, text, fault):
    (told,) = faults(text)
    assert told.startswith(fault + "; expected ")


def test_comments_end_values_but_a_semicolon_within_a_word_does_not(read, folder):
    settings = read(
        "; first\n# second\n  ; third\n[jobd] ; here too\ndata_dir = a;b#c\t; where\n"
        "[execs]\nkept = 7 ; few\nmax_age = ; the default\n"
    )
    assert settings.jobd.data_dir == folder / "a;b#c"
    assert settings.execs.kept == 7
    assert settings.execs.max_age == 90 * 86400


def test_nothing_is_interpolated(read):
    url = "postgresql://jobd:p%40ss%(x)s${y}@db/jobd"
    assert read(f"[database]\nurl = {url}").database.url == url


def test_an_indented_line_continues_a_value(read):
    images = read("[region:BEIJING1]\nexecutor = docker\nimages =\n  python:*\n  ; ours\n  busybox:1, alpine:3\n")
    assert images.regions["BEIJING1"].images == ("python:*", "busybox:1", "alpine:3")


def test_an_indented_key_is_not_swallowed_by_the_value_above(faults):
    assert faults("[jobd]\ndata_dir = a\n  default_region = DRYRUN\n") == [
        "jobd.ini:3: [jobd] `default_region` is indented, which continues `data_dir`;"
        " expected a key at the start of its line"
    ]


def test_a_byte_order_mark_windows_lines_and_chinese_names_work(read, folder):
    settings = read(
        "\ufeff[jobd]\r\ndefault_region = 北京一区\r\ndata_dir = 数据\r\n[region:北京一区]\r\nexecutor = docker\r\n"
    )
    assert settings.jobd.data_dir == folder / "数据"
    assert list(settings.regions) == ["北京一区"]


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b"])
def test_only_newlines_count_as_lines(faults, separator):
    assert any(fault.startswith("jobd.ini:3: [execs] kept:") for fault in faults(f"; a{separator}b\n[execs]\nkept = x"))


class TestAFileThatCannotBeRead:
    def fault(self, path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load(path, KINDS, {})
        return caught.value.message

    def test_missing(self, folder):
        assert self.fault(Path("no.ini")) == (
            "no.ini: cannot be read: No such file or directory; expected the path of a readable INI file"
        )

    def test_a_directory(self, folder):
        assert self.fault(folder) == f"{folder}: not a file; expected the path of an INI file"

    def test_a_device(self):
        assert self.fault(Path("/dev/zero")).startswith("/dev/zero: not a file")

    def test_forbidden(self, folder):
        path = folder / "jobd.ini"
        path.touch(mode=0o000)
        if os.access(path, os.R_OK):
            path = Path("/proc/self/mem")  # root may read every file, but not this one from its beginning
            assert "cannot be read: Input/output error" in self.fault(path)
        else:
            assert "cannot be read: Permission denied" in self.fault(path)

    def test_not_utf8(self, folder):
        path = folder / "jobd.ini"
        path.write_bytes("[jobd]\ndata_dir = 数据".encode("gb18030"))
        assert self.fault(path) == f"{path}:2: not UTF-8; save the file as UTF-8"

    def test_huge(self, folder):
        path = folder / "jobd.ini"
        with path.open("wb") as file:
            file.truncate(10 * GB)
        assert "larger than 1048576 bytes" in self.fault(path)

    def test_a_path_with_nul(self):
        assert "cannot be read" in self.fault(Path("a\0b"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("10s", 10), ("5m", 300), ("24h", 86400), ("90d", 7776000), ("0.5", 0.5)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("1048576", MB), ("10MB", 10 * MB), ("64 KB", 64 * KB), ("1GB", GB), ("1 mb", MB), ("512B", 512)],
)
def test_bytes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("parse", [parse_duration, parse_bytes, parse_size])
@given(text=st.text())
@example("٣")
@example("-1")
@example("nan")
@example("1e9")
@example("9" * 5000)
@example("1 cpu, " + "9" * 5000)
def test_a_quantity_is_a_number_or_told(parse, text):
    try:
        parsed = parse(text)
    except ValueError as error:
        assert "; expected " in str(error)
    else:
        assert isinstance(parsed, Size) or parsed >= 0


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("execs", "timeout = 0"),
        ("execs", "timeout = 1.5s"),
        ("execs", "timeout = 99999999d"),
        ("execs", "stop_grace = 2h"),
        ("execs", "max_log = 1"),
        ("execs", "max_log = 1.5MB"),
        ("execs", "kept = 0"),
        ("limits", "max_body = 0"),
        ("limits", "max_body = 5MB"),
        ("limits", "waiting_per_namespace = -1"),
        ("scheduler", "tick = 0"),
        ("scheduler", "lease = 0.9"),
        ("scheduler", "lease = 2h"),
        ("scheduler", "tick = " + "9" * 400),
        ("database", "connections = 0"),
        ("auth", "mode = None"),
        ("jobd", "listen = 127.0.0.1"),
        ("jobd", "listen = 127.0.0.1:65536"),
        ("jobd", "listen = ::1:8080"),
        ("jobd", "listen = [127.0.0.1]:8080"),
        ("jobd", "listen = :8080"),
        ("jobd", "listen = http://127.0.0.1:8080"),
        ("sizes", "XS = 0.25, 128 MB"),
        ("sizes", "XS = 0 cpu, 128 MB"),
        ("sizes", "XS = 1 cpu, 5 MB"),
        ("sizes", "XS = 1 cpu"),
        ("sizes", "XS ="),
        ("sizes", "X S = 1 cpu, 64 MB"),
        ("database", "url = mysql://host/db"),
        ("database", "url = jobd.db"),
        ("database", "url = sqlite://jobd.db"),
        ("database", "url = sqlite:///"),
        ("database", "url = sqlite:///:memory:"),
        ("database", "url = sqlite:///jobd.db?mode=ro"),
        ("database", "url = postgresql://host"),
        ("database", "url = postgresql://host:port/db"),
        ("database", "url = postgresql://[::1/db"),
    ],
)
def test_a_value_out_of_bounds_is_told_with_its_line(faults, section, line):
    (told,) = faults(f"[{section}]\n{line}\n")
    assert told.startswith(f"jobd.ini:2: [{section}] {line.split('=')[0].strip()}: ")
    assert "; expected " in told or "should be 'token' or 'none'" in told


@pytest.mark.parametrize(
    ("text", "listen", "loopback"),
    [
        ("127.0.0.1:80", Listen(host="127.0.0.1", port=80), True),
        ("127.8.8.8:80", Listen(host="127.8.8.8", port=80), True),
        ("[::1]:80", Listen(host="::1", port=80), True),
        ("localhost:0", Listen(host="localhost", port=0), True),
        ("0.0.0.0:80", Listen(host="0.0.0.0", port=80), False),
        ("[::]:80", Listen(host="::", port=80), False),
        ("jobd.example.com:80", Listen(host="jobd.example.com", port=80), False),
    ],
)
def test_an_address_is_read_and_written_alike(read, text, listen, loopback):
    read_back = read(f"[jobd]\nlisten = {text}").jobd.listen
    assert (read_back, str(read_back), read_back.loopback) == (listen, text, loopback)


def test_without_tokens_jobd_serves_loopback_only(read, faults):
    read("[auth]\nmode = none\n[jobd]\nlisten = [::1]:8080")
    assert faults("[jobd]\nlisten = 0.0.0.0:8080\n[auth]\nmode = none\n") == [
        "jobd.ini:4: [auth] mode: without tokens, anyone who reaches 0.0.0.0:8080 could use jobd;"
        " expected mode = token, or [jobd] listen on 127.0.0.1"
    ]


def test_the_listen_flag_goes_before_everything_and_is_held_to_the_same_rules(read, faults):
    environ = {"JOBD__JOBD__LISTEN": "127.0.0.1:2"}
    assert read("[jobd]\nlisten = 127.0.0.1:1", environ, listen="127.0.0.1:3").jobd.listen.port == 3
    assert faults("", listen="9000")[0].startswith("--listen: [jobd] listen: `9000` is not an address; expected ")
    assert "anyone who reaches 0.0.0.0:80 could use jobd" in faults("[auth]\nmode = none", listen="0.0.0.0:80")[0]


def test_the_default_region_must_exist(faults):
    assert faults("[jobd]\ndefault_region = SHANGHAI\n[region:SHANGHAI1]\nexecutor = docker\n") == [
        "jobd.ini:2: [jobd] default_region: there is no [region:SHANGHAI]; expected SHANGHAI1"
    ]
    assert faults("[region:SHANGHAI1]\nexecutor = docker\n") == [
        "jobd.ini: [jobd] default_region: there is no [region:BEIJING1]; expected one of SHANGHAI1"
    ]


def test_sizes_replace_the_built_in_ones_and_the_smallest_is_the_default(read, faults):
    settings = read("[sizes]\nL = 4 cpu, 1 GB\nM = 0.5 cpus, 256 MB\nS = 0.25 CPU,256MB\n")
    assert list(settings.sizes) == ["L", "M", "S"]
    assert settings.default_size == "S"
    assert faults("[sizes]") == ["jobd.ini:1: [sizes] has no size; expected a line like XS = 0.25 cpu, 128 MB"]


class TestDatabaseUrls:
    def test_a_relative_sqlite_path_is_relative_to_the_file(self, folder, monkeypatch):
        (folder / "etc").mkdir()
        (folder / "etc" / "jobd.ini").write_text("[database]\nurl = sqlite:///data/jobd.db")
        database = load(Path("etc/jobd.ini"), KINDS, {}).database
        assert database.sqlite_path == folder / "etc/data/jobd.db"
        assert database.url == f"sqlite:///{folder}/etc/data/jobd.db"

    def test_an_absolute_one_stays(self, read):
        database = read("[database]\nurl = sqlite:////srv/jobd.db").database
        assert (database.url, database.sqlite_path) == ("sqlite:////srv/jobd.db", Path("/srv/jobd.db"))

    def test_postgresql_has_no_sqlite_path(self, read):
        assert read("[database]\nurl = postgresql:///jobd").database.sqlite_path is None

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://me:hunter2@db:5432/jobd", "postgresql://me@db:5432/jobd"),
            ("postgresql://me:hun@ter2@db/jobd", "postgresql://me@db/jobd"),
            ("postgresql://db/jobd?user=me&password=hunter2", "postgresql://db/jobd?user=me&password=***"),
            ("postgresql://me@db/jobd", "postgresql://me@db/jobd"),
        ],
    )
    def test_a_password_can_be_left_out_for_people(self, url, shown):
        assert Database(url=url).url_without_password == shown


def test_no_password_is_ever_shown(read, faults, folder):
    (folder / "secret").write_text("hunter2\n")
    registry = "[registry:r.example.com]\nusername = me\npassword_file = secret\n"
    settings = read(f"[database]\nurl = postgresql://me:hunter2@db/jobd\n{registry}")
    assert settings.registries["r.example.com"].password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)
    for wrong in ("url = postgres://me:hunter2@db/jobd", "url postgresql://me:hunter2@db/jobd", "url = me:hunter2@db"):
        assert "hunter2" not in "".join(faults(f"[database]\n{wrong}\n"))
    assert "hunter2" not in faults("url = postgresql://me:hunter2@db/jobd")[0]
    assert "hunter2" not in "".join(faults("", {"JOBD__DATABASE__URL": "postgres://me:hunter2@db/jobd"}))


class TestRegistries:
    def test_namespaces_are_all_unless_listed(self, read, folder):
        (folder / "secret").write_text("pass word\r\n")
        keys = "username = me\npassword_file = secret\n"
        registries = read(
            f"[registry:a.example.com:5000]\n{keys}[registry:[::1]:5000]\n{keys}namespaces = 团队, ops\n"
            f"[registry:localhost]\n{keys}namespaces =\n"
        ).registries
        assert {host: registry.namespaces for host, registry in registries.items()} == {
            "a.example.com:5000": None,
            "[::1]:5000": ("团队", "ops"),
            "localhost": (),
        }
        assert registries["a.example.com:5000"].password.get_secret_value() == "pass word"

    def test_both_keys_are_required(self, faults):
        assert faults("[registry:r.example.com]\nusername =\n") == [
            "jobd.ini:1: [registry:r.example.com] password_file: is missing; expected a line password_file = …",
            "jobd.ini:2: [registry:r.example.com] username: is missing; expected a line username = …",
        ]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [(None, "no such file"), (b"\n", "empty"), (b"x" * 5000, "too long"), (b"\xff\xfe", "codec can't decode")],
    )
    def test_a_password_file_that_holds_no_password_is_told(self, faults, folder, content, reason):
        if content is not None:
            (folder / "secret").write_bytes(content)
        (told,) = faults("[registry:r.example.com]\nusername = me\npassword_file = secret\n")
        assert told.startswith(f"jobd.ini:3: [registry:r.example.com] password_file: {folder}/secret: ")
        assert reason in told

    def test_a_host_is_no_url(self, faults, folder):
        (folder / "secret").write_text("x")
        (told,) = faults("[registry:https://r.example.com]\nusername = me\npassword_file = secret\n")
        assert told.endswith("`https://r.example.com` is not a host; expected HOST or HOST:PORT alone")


class TestRegions:
    def test_regions_replace_the_built_in_ones(self, read):
        assert list(read("[jobd]\ndefault_region = X\n[region:X]\nexecutor = dry-run").regions) == ["X"]

    def test_options_arrive_in_their_types(self, read, folder):
        options = (
            read("[region:BEIJING1]\nexecutor = docker\npids = 7\nkey = k/id\ndns = 1.1.1.1, 8.8.8.8\n")
            .regions["BEIJING1"]
            .options
        )
        assert options == DockerOptions(pids=7, key=folder / "k/id", state=folder / "state", dns=("1.1.1.1", "8.8.8.8"))

    def test_a_wrong_option_is_told_with_its_line(self, faults):
        assert faults("[region:BEIJING1]\nexecutor = docker\nsokcet = x\npids = many\nmax_runing = 1") == [
            "jobd.ini:3: [region:BEIJING1] sokcet: no such key; expected socket",
            "jobd.ini:4: [region:BEIJING1] pids: should be a valid integer, unable to parse string as an integer;"
            " expected a value such as 100",
            "jobd.ini:5: [region:BEIJING1] max_runing: no such key; expected max_running",
        ]

    def test_an_option_of_another_executor_is_unknown(self, faults):
        (told,) = faults("[region:BEIJING1]\nexecutor = dry-run\nsocket = x\n")
        assert told.startswith("jobd.ini:3: [region:BEIJING1] socket: no such key")

    def test_an_executor_is_required(self, faults):
        assert faults("[region:BEIJING1]\n") == [
            "jobd.ini:1: [region:BEIJING1] executor: is missing; expected one of docker, dry-run"
        ]

    @pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "x" * 65])
    def test_a_name_fits_a_url(self, faults, name):
        assert any(
            "is not a valid name for a region" in told for told in faults(f"[region:{name}]\nexecutor = docker\n")
        )

    @pytest.mark.parametrize(
        ("images", "image", "allowed"),
        [
            ("*", "anything/at/all:1", True),
            ("python:* r.example.com/team/*", "python:3.12", True),
            ("python:* r.example.com/team/*", "r.example.com/team/a/b@sha256:00", True),
            ("python:* r.example.com/team/*", "evil/python:3.12", False),
            ("python:*", "Python:3", False),
            ("", "python:3", False),
        ],
    )
    def test_images_are_allowed_by_globs(self, read, images, image, allowed):
        region = read(f"[region:BEIJING1]\nexecutor = docker\nimages = {images}\n").regions["BEIJING1"]
        assert region.allows(image) is allowed


class TestEnvironment:
    def test_a_variable_goes_before_the_file(self, read):
        environ = {
            "JOBD__EXECS__KEPT": "9",
            "JOBD__REGION_BEIJING1__SOCKET": "tcp://h:1",
            "JOBD__SIZES__XS": "1 cpu, 1GB",
        }
        settings = read("[execs]\nkept = 1\n", environ)
        assert settings.execs.kept == 9
        assert settings.regions["BEIJING1"].options == DockerOptions(
            socket="tcp://h:1", state=settings.path.parent / "state"
        )
        assert settings.sizes["XS"].memory == GB

    def test_other_characters_of_a_section_are_underscores(self, read, folder):
        (folder / "secret").write_text("x")
        section = "[registry:index.example.com:5000]\nusername = me\npassword_file = secret\n"
        environ = {"JOBD__REGISTRY_INDEX_EXAMPLE_COM_5000__USERNAME": "you"}
        assert read(section, environ).registries["index.example.com:5000"].username == "you"

    def test_a_fault_in_a_variable_names_the_variable(self, faults):
        assert faults("[execs]\nkept = 1\n", {"JOBD__EXECS__KEPT": "many"}) == [
            "JOBD__EXECS__KEPT: [execs] kept: should be a valid integer, unable to parse string as an integer;"
            " expected a value such as 100"
        ]

    def test_a_variable_heals_a_fault_of_the_file(self, read):
        assert read("[execs]\nkept = many\n", {"JOBD__EXECS__KEPT": "2"}).execs.kept == 2

    def test_an_executor_can_be_changed(self, read, faults):
        environ = {"JOBD__REGION_BEIJING1__EXECUTOR": "dry-run"}
        assert read("", environ).regions["BEIJING1"].executor == "dry-run"
        (told,) = faults("", environ | {"JOBD__REGION_BEIJING1__PIDS": "3"})
        assert told.startswith("JOBD__REGION_BEIJING1__PIDS: [region:BEIJING1] pids: no such key")

    def test_an_unknown_variable_is_told_the_nearest(self, faults):
        assert faults("", {"JOBD__EXECS__TIMOUT": "1"}) == [
            "JOBD__EXECS__TIMOUT: no key has this variable; expected JOBD__EXECS__TIMEOUT"
        ]

    def test_one_that_may_mean_two_keys_is_told_both(self, faults):
        regions = "[jobd]\ndefault_region = A-1\n[region:A-1]\nexecutor = docker\n[region:A.1]\nexecutor = docker\n"
        assert faults(regions, {"JOBD__REGION_A_1__SOCKET": "x"}) == [
            "JOBD__REGION_A_1__SOCKET: this may mean [region:A-1] socket or [region:A.1] socket;"
            " expected the key to be set in the file"
        ]

    def test_variables_of_others_are_left_alone(self, read):
        read("", {"JOBD_URL": "x", "JOBD_TOKEN": "x", "XJOBD__EXECS__KEPT": "x"})

    def test_the_process_environment_is_read(self, folder, monkeypatch):
        (folder / "jobd.ini").touch()
        monkeypatch.setenv("JOBD__EXECS__KEPT", "3")
        assert load(Path("jobd.ini"), KINDS).execs.kept == 3


def test_settings_do_not_change(read):
    settings = read("")
    with pytest.raises(ValueError, match="frozen"):
        settings.execs.kept = 1


@given(text=st.text(alphabet=st.sampled_from("[]=;# \n\tjobd:executsz01")) | st.text())
def test_any_text_is_settings_or_faults(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.ini"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        settings = load(path, KINDS, {})
    except ConfigError as error:
        assert all(line.startswith(f"{path}:") for line in error.message.split("\n"))
    else:
        assert settings.jobd.default_region in settings.regions


class TestMounts:
    REGIONS = "[region:BEIJING1]\nexecutor = docker\n[region:OTHER]\nexecutor = docker\n"

    def test_a_mount_is_for_everybody_unless_it_says_for_whom(self, read):
        mounts = read(
            f"{self.REGIONS}[mount:data]\nsource = /srv/data\n"
            "[mount:own]\nsource = /srv/own\nread_only = false\nnamespaces = a, b\nregions = OTHER\n"
        ).mounts
        assert mounts["data"].read_only
        assert mounts["data"].is_for("anybody", "BEIJING1")
        assert not mounts["own"].read_only
        assert mounts["own"].is_for("a", "OTHER")
        assert not mounts["own"].is_for("c", "OTHER")
        assert not mounts["own"].is_for("a", "BEIJING1")

    def test_a_source_that_is_no_absolute_path_is_a_fault(self, faults):
        (told,) = faults("[mount:data]\nsource = data\n")
        assert told.startswith("jobd.ini:2: [mount:data] source:")

    def test_a_region_that_is_not_there_is_a_fault(self, faults):
        (told,) = faults(f"{self.REGIONS}[mount:data]\nsource = /srv\nregions = BEIJING2\n")
        assert "there is no [region:BEIJING2]" in told
        assert "BEIJING1" in told


class TestWebhooksAndMail:
    def test_networks_are_read(self, read):
        settings = read("[webhooks]\nallow_networks = 10.0.0.0/8, fd00::/8 127.0.0.1\nmax_age = 2d\n").webhooks
        assert [str(network) for network in settings.allow_networks] == ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"]
        assert settings.max_age == 2 * 86400

    @pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "example.com", "10.0.0.*", "fd00::/129"])
    def test_what_is_no_network_is_told(self, faults, text):
        (fault,) = faults(f"[webhooks]\nallow_networks = {text}\n")
        assert fault.startswith(f"jobd.ini:2: [webhooks] allow_networks: `{text}` is not a network")

    def test_mail_is_off_unless_a_server_is_named(self, read):
        assert read("[mail]\nsecurity = tls\n").mail.smtp is None

    def test_a_mail_server_with_sign_in(self, read, folder):
        (folder / "mail.password").write_text("secret\n")
        text = "[mail]\nsmtp = [::1]:587\nsender = jobd@example.com\nusername = jobd\npassword_file = mail.password\n"
        mail = read(text).mail
        assert (str(mail.smtp), mail.security, mail.username) == ("[::1]:587", "starttls", "jobd")
        assert mail.password_file == folder / "mail.password"

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("smtp = mail.example.com\n", ":2: [mail] smtp: `mail.example.com` is not an address"),
            ("smtp = mail.example.com:25\n", ":2: [mail] sender: is missing"),
            ("smtp = m:25\nsender = jobd\n", ":3: [mail] sender: `jobd` is not an address"),
            ("smtp = m:25\nsender = a@b.c\nusername = x\n", ":2: [mail] username and password_file go together"),
            ("smtp = m:25\nsender = a@b.c\npassword_file = jobd.ini\n", ":2: [mail] username and password_file"),
            (
                "smtp = m:25\nsender = a@b.c\nusername = x\npassword_file = nowhere\n",
                ":5: [mail] password_file: ",
            ),
            (
                "smtp = m:25\nsender = a@b.c\nusername = x\npassword_file = jobd.ini\nsecurity = none\n",
                ":2: [mail] security: without TLS",
            ),
            ("security = ssl\n", ":2: [mail] security: should be"),
        ],
    )
    def test_what_does_not_go_together_is_told(self, faults, text, fault):
        (told,) = faults(f"[mail]\n{text}")
        assert told.startswith(f"jobd.ini{fault}")
