"""Semantic segmentation from pixels to classes: any decode head of mmseg, ours too."""

from typing import Any

from torch import Tensor, nn

from paperzoo.deploy.inputs import Normalize, enlarged
from paperzoo.errors import UserError


class SemanticGraph(nn.Module):
    """A segmentor of mmseg with the class of each pixel of the result.

    Args:
        model: Of mmseg's `EncoderDecoder`.

    Raises:
        UserError: If it looks at images part by part (`mode='slide'`).

    Example:
        >>> import paperzoo, torch
        >>> from paperzoo.deploy.semantic import SemanticGraph
        >>> cfg = paperzoo.load_config('knet_tiny_shapes_semantic')
        >>> graph = SemanticGraph(paperzoo.build_model(cfg, 'cpu')).eval()
        >>> size, pixels = torch.tensor([60, 90]), torch.zeros(1, 3, 64, 96).byte()
        >>> graph(pixels, size, size)['sem_seg'].shape
        torch.Size([1, 60, 90])
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        mode = (model.test_cfg or {}).get('mode', 'whole')
        if mode != 'whole':
            raise UserError(
                f"model.test_cfg.mode='{mode}' cannot be exported: --cfg-options "
                'model.test_cfg.mode=whole'
            )
        self.model = model
        self.normalize = Normalize(model.data_preprocessor)
        self.settings: dict[str, Any] = {'out_channels': int(model.out_channels)}
        if model.out_channels == 1:
            self.settings['threshold'] = float(model.decode_head.threshold)

    def forward(
        self, images: Tensor, image_size: Tensor, result_size: Tensor
    ) -> dict[str, Tensor]:
        """Return `sem_seg`, the class of each pixel, (B, h, w).

        Args:
            images: Pixels, (B, 3, H, W), uint8.
            image_size: Height and width of what is no padding.
            result_size: Height and width of the map.
        """
        pixels = self.normalize(images, image_size)
        padded = (images.size(2), images.size(3))
        logits = self.model.decode_head(self.model.extract_feat(pixels))
        align = self.model.align_corners
        logits = enlarged(logits, padded, image_size, result_size, align)
        if self.settings['out_channels'] > 1:
            return {'sem_seg': logits.argmax(1)}
        return {'sem_seg': (logits.sigmoid() > self.settings['threshold']).long()[:, 0]}
