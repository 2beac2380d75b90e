"""What training leaves of the networks in a store."""

import pytest

from paha_core.config import load_preset
from paha_core.errors import UserError
from paha_core.store import Store
from paha_core.trained import FOR_NEGATIVES, negatives_checkpoint


def test_negatives_are_made_by_the_step_that_the_preset_asks_for(tmp_path):
    store, preset = Store(str(tmp_path)), load_preset("smoke")
    assert (preset.univdm.train.steps, preset.negatives_step) == (20, 12)
    store.write_json(f"{FOR_NEGATIVES}/training.json", {"fingerprint": "a", "step": 12})
    assert negatives_checkpoint(store, preset) == "a at 12"
    later = preset.negatives.model_copy(update={"at": 0.8})
    with pytest.raises(UserError, match=r"step 12, and negatives.at 0.8 means step 16: .* to 0.6,"):
        negatives_checkpoint(store, preset.model_copy(update={"negatives": later}))
