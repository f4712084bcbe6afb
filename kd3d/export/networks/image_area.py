"""The part of a network's input that is image, not padding."""

from kd3d.errors import UserError


def within(image_size: tuple[int, int] | None, input_size: tuple[int, int]) -> tuple[int, int]:
    """The image's (H, W) px, checked against the input's.

    Args:
        image_size: None for the whole input.
        input_size: (H, W) px.

    Raises:
        UserError: if the image is larger than the input.
    """
    height, width = image_size or input_size
    if height > input_size[0] or width > input_size[1]:
        raise UserError(
            f"image size {height}x{width} (H x W) does not fit into the input of "
            f"{input_size[0]}x{input_size[1]}; the image is what remains without padding"
        )
    return height, width
