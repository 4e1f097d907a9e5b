"""The manual of Docker over SSH names what there is."""

import re
from pathlib import Path

from jobd.config import load
from jobd_docker.options import ContainerOptions
from jobd_ssh.executor import SshExecutor
from jobd_ssh.options import SshOptions

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "ssh.md").read_text()


def test_every_option_is_in_the_table_with_its_default():
    table = MANUAL.partition("## Options")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\| ", table, re.M))
    fields = {
        name: field for name, field in SshOptions.model_fields.items() if name not in ContainerOptions.model_fields
    }
    assert set(rows) == set(fields)
    defaults = SshOptions(
        host="jobd@10.0.0.5", identity_file="key", **{key: value for key, value in rows.items() if value}
    )
    assert defaults == SshOptions(host="jobd@10.0.0.5", identity_file="key")


def test_the_regions_of_the_manual_and_the_shipped_files_are_right(tmp_path: Path):
    texts = [re.search(r"```ini\n(.+?)```", MANUAL, re.S)[1]]
    for shipped in ("jobd.ini", "conf/jobd.production.ini"):
        commented = (ROOT / shipped).read_text().partition("; [region:SHANGHAI1]")[2]
        texts.append("[region:SHANGHAI1]\n" + "\n".join(re.findall(r"^; (\w+ = .+)$", commented, re.M)))
    for text in texts:
        path = tmp_path / "jobd.ini"
        path.write_text(f"[jobd]\ndefault_region = SHANGHAI1\n{text}")
        (region,) = load(path, {"docker-ssh": SshExecutor}, {}).regions.values()
        assert region.executor == "docker-ssh"
        assert region.options == SshOptions(
            host="jobd@10.0.0.5:22", identity_file="/etc/jobd/shanghai1.key", known_hosts="/etc/jobd/known_hosts"
        )
