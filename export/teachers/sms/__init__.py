"""Sinusoids and residual (McAulay and Quatieri 1986; Serra and Smith 1990) as a system of style transfer."""

from .teacher import TEACHER

__all__ = ["TEACHER"]
