"""PSNR and SSIM of two small pictures, written out as in the papers: what tests/evaluate.c expects. Needs numpy."""
import numpy as np

H, W = 14, 17
y, x, c = np.meshgrid(np.arange(H), np.arange(W), np.arange(3), indexing="ij")
a = (x * 7 + y * 13 + c * 31 + (x * y) % 17 * 5) % 256
b = np.clip(a + (x * 5 + y * 3 + c) % 21 - 10, 0, 255)

mse = np.mean((a - b).astype(np.float64) ** 2)
print("psnr %.12f" % (10 * np.log10(255 ** 2 / mse)))

# Wang, Bovik, Sheikh, Simoncelli 2004, section III-B: 11x11 circular-symmetric Gaussian, sigma 1.5, normalized to unit sum.
axis = np.arange(11) - 5
window = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 1.5 ** 2))
window /= window.sum()
c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
values = []
for k in range(3):
    for i in range(H - 10):
        for j in range(W - 10):
            p, q = a[i:i + 11, j:j + 11, k].astype(np.float64), b[i:i + 11, j:j + 11, k].astype(np.float64)
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq, cov = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum(), (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp ** 2 + mq ** 2 + c1) * (vp + vq + c2)))
print("ssim %.12f over %d windows" % (np.mean(values), len(values)))
