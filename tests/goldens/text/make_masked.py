"""masked.txt: what transformers' CLIPTextModel gives with an attention mask, as diffusers' pipelines pass one where text_encoder/config.json has
use_attention_mask. No weights are stored: element i of tensor number t (in the order of TENSORS) is the formula below, in tests/text_encoder.c as well.
Needs torch and transformers:  python3 make_masked.py > masked.txt"""
import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModel

HIDDEN, HEADS, INNER, LAYERS, VOCABULARY, TOKENS = 8, 2, 16, 2, 10, 12
LAYER = ["layer_norm1.weight", "layer_norm1.bias", "self_attn.q_proj.weight", "self_attn.q_proj.bias", "self_attn.k_proj.weight", "self_attn.k_proj.bias",
         "self_attn.v_proj.weight", "self_attn.v_proj.bias", "self_attn.out_proj.weight", "self_attn.out_proj.bias", "layer_norm2.weight", "layer_norm2.bias",
         "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"]
TENSORS = (["embeddings.token_embedding.weight", "embeddings.position_embedding.weight"] + [f"encoder.layers.{i}.{n}" for i in range(LAYERS) for n in LAYER] +
           ["final_layer_norm.weight", "final_layer_norm.bias"])

config = CLIPTextConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                        max_position_embeddings=TOKENS, eos_token_id=9, bos_token_id=8, pad_token_id=0)
model = CLIPTextModel(config).eval()
state = model.state_dict()
prefix = "text_model." if any(k.startswith("text_model.") for k in state) else ""
for t, name in enumerate(TENSORS):
    shape = state[prefix + name].shape
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    state[prefix + name] = torch.tensor((np.sin(0.37 * i + t) * 0.5).astype(np.float32).reshape(shape))
model.load_state_dict(state)
for ids in ([8, 3, 4, 9, 0, 0, 0, 0, 0, 0, 0, 0], [8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [8, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 9]):
    ids = torch.tensor([ids])
    mask = (torch.arange(TOKENS) <= ids[0].tolist().index(9)).long()[None]
    with torch.no_grad():
        out = model.double()(ids, attention_mask=mask)[0][0]
    for row in out:
        print(" ".join(f"{x:.7f}" for x in row.tolist()))
