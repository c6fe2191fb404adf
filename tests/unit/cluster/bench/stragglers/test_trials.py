from collections import Counter

from cluster.bench.stragglers.trials import FACTORS, LARGE, SIZES, TURNS, specs


def test_every_kind_and_factor_has_its_turn() -> None:
    made = list(specs(14 * len(TURNS)))
    kinds = Counter(spec.faults[0].kind if len(spec.faults) == 1 else None for spec in made)
    assert set(kinds.values()) == {14, 5 * 14}
    for kind in ("cpu-quota", "link", "disk"):
        alone = [spec.faults[0] for spec in made if len(spec.faults) == 1]
        factors = Counter(fault.factor for fault in alone if fault.kind == kind)
        assert factors == Counter(2 * FACTORS)
    both = [spec for spec in made if len(spec.faults) == 2]
    hosts = Counter(len({fault.host for fault in spec.faults}) for spec in both)
    assert hosts == {1: 14, 2: 14}
    assert all(spec.cluster.hosts >= 5 for spec in both if len({f.host for f in spec.faults}) == 2)
    clean = [spec for spec in made if not spec.faults]
    assert sum(not spec.cluster.even for spec in clean) >= len(clean) * 2 / 3


def test_large_clusters_meet_every_kind() -> None:
    made = list(specs(175 * len(TURNS)))
    for hosts in LARGE.values():
        large = [spec for spec in made if spec.cluster.hosts == hosts]
        kinds = {tuple(sorted(fault.kind for fault in spec.faults)) for spec in large}
        assert len({kind for kind in kinds if len(kind) == 1}) == 8
    sizes = Counter(spec.cluster.hosts for spec in made)
    assert sizes[5000] == len(TURNS)
    assert {*sizes} == {*SIZES, *LARGE.values()}


def test_tuning_and_reported_trials_share_no_seed_and_no_draw() -> None:
    reported, tuning = list(specs(60)), list(specs(60, tuning=True))
    assert all(spec.seed % 2 for spec in reported)
    assert not any(spec.seed % 2 for spec in tuning)
    assert [spec.cluster for spec in reported] != [spec.cluster for spec in tuning]
    other = {spec.seed for spec in specs(60, seed=1)}
    assert not other & {spec.seed for spec in reported}


def test_the_seed_fixes_the_trials_and_more_begin_with_the_same() -> None:
    assert list(specs(30, seed=4)) == list(specs(60, seed=4))[:30]
    assert list(specs(30, seed=4)) != list(specs(30, seed=5))


def test_faults_begin_and_end_within_the_run() -> None:
    for spec in specs(400):
        for fault in spec.faults:
            assert fault.host < spec.cluster.hosts
            if fault.kind in ("cold", "skew"):
                assert fault.at_start
